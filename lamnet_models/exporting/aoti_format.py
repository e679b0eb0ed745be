"""AOTInductor packages, compiled ahead of time for one device type; run in PyTorch or C++."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch._inductor
from torch import Tensor

from ..compilation import check_compiler
from ..lamnet import LAMNet
from .torch_format import trace


def write(model: LAMNet, path: Path, metadata: dict[str, str], half: bool) -> None:
    """Compile a network and write the package.

    Raises:
        LAMNetError: If no working C++ compiler is installed.
    """
    check_compiler(header="cmath")
    # As in `compile_blocks`: the layers choose their memory layouts.
    options = {"aot_inductor.metadata": metadata, "layout_optimization": False}
    torch._inductor.aoti_compile_and_package(trace(model, half), package_path=str(path), inductor_configs=options)


def load(path: Path) -> Callable[[Tensor], Tensor]:
    """Load a package as a callable."""
    return torch._inductor.aoti_load_package(str(path))
