"""``torch.compile`` for networks, and a clear word where it cannot work."""

from __future__ import annotations

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


def check_compiler() -> None:
    """Checks for what ``torch.compile`` needs, whose own message would come late and be long.

    Raises:
        LAMNetError: If there is no C++ compiler.
    """
    try:
        get_cpp_compiler()
    except (InvalidCxxCompiler, RuntimeError, OSError):
        raise LAMNetError(
            "compiling needs a C++ compiler, and none was found: install g++ or clang, name one in CXX, or do without"
        ) from None
