"""``torch.compile`` for networks, and a clear word where it cannot work."""

from __future__ import annotations

import subprocess
import sys
import sysconfig

from torch import nn
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler

from .errors import LAMNetError


def compile_network(network: nn.Module) -> None:
    """Compiles a network in place, by its repeated blocks where it knows them; the work is done at the first image.

    Args:
        network: Any network; LAMNet is compiled by [`compile_blocks`][lamnet_models.LAMNet.compile_blocks].

    Raises:
        LAMNetError: If there is no C++ compiler.
    """
    compile_blocks = getattr(network, "compile_blocks", None)
    if compile_blocks is not None:
        compile_blocks()
    else:
        check_compiler()
        network.compile()


def check_compiler(header: str = "Python.h") -> None:
    """Checks for what ``torch.compile`` needs, whose own message would come late and be long.

    Args:
        header: What the compiled code includes; that of ``torch.compile`` is a module of Python.

    Raises:
        LAMNetError: If there is no C++ compiler, or it does not get through an empty program.
    """
    try:
        compiler = get_cpp_compiler()
    except (InvalidCxxCompiler, RuntimeError, OSError):
        raise LAMNetError(
            "compiling needs a C++ compiler, and none was found: install g++ or clang, name one in CXX, or do without"
        ) from None
    if sys.platform == "win32":  # whose compiler has other options
        return
    command = [compiler, "-fsyntax-only", "-x", "c++", "-I", sysconfig.get_path("include"), "-"]
    result = subprocess.run(command, input=f"#include <{header}>\n", capture_output=True, text=True)
    if result.returncode:
        said = next((line for line in result.stderr.splitlines() if "error" in line), f"code {result.returncode}")
        advice = "install Python's headers (python3-dev)" if "Python.h" in said else "name another one in CXX"
        raise LAMNetError(f"compiling needs a C++ compiler that works, but {compiler} ended with: {said}; {advice}")
