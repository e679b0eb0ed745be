"""``torch.compile`` for networks, with a check for a working C++ compiler."""

from __future__ import annotations

import subprocess
import sys
import sysconfig

from torch import nn

from .errors import LAMNetError


def compile_network(network: nn.Module) -> None:
    """Compile a network in place, block by block if it has ``compile_blocks``.

    Compilation runs at the first forward pass.

    Args:
        network: Any network; LAMNet is compiled by [`compile_blocks`][lamnet_models.LAMNet.compile_blocks].

    Raises:
        LAMNetError: If no working C++ compiler is installed.
    """
    compile_blocks = getattr(network, "compile_blocks", None)
    if compile_blocks is not None:
        compile_blocks()
    else:
        check_compiler()
        network.compile()


def check_compiler(header: str = "Python.h") -> None:
    """Check for a working C++ compiler before ``torch.compile`` fails with a long message.

    Args:
        header: Header that the compiled code includes: ``Python.h`` for ``torch.compile``.

    Raises:
        LAMNetError: If no C++ compiler is installed, or it fails on an empty program.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler  # takes seconds to import
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        compiler = get_cpp_compiler()
    except (InvalidCxxCompiler, RuntimeError, OSError):
        raise LAMNetError(
            "compiling needs a C++ compiler: install g++ or clang, set CXX, or disable compilation"
        ) from None
    if sys.platform == "win32":  # MSVC has other options
        return
    command = [compiler, "-fsyntax-only", "-x", "c++", "-I", sysconfig.get_path("include"), "-"]
    result = subprocess.run(command, input=f"#include <{header}>\n", capture_output=True, text=True)
    if result.returncode:
        reason = next((line for line in result.stderr.splitlines() if "error" in line), f"code {result.returncode}")
        advice = "install Python's headers (python3-dev)" if "Python.h" in reason else "set CXX to another compiler"
        raise LAMNetError(f"compiling needs a working C++ compiler, but {compiler} failed: {reason}; {advice}")
