"""AOTInductor: a program compiled ahead, for one kind of device, which PyTorch or C++ load without a compiler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch._inductor
from torch import Tensor

from ..compilation import check_compiler
from ..lamnet import LAMNet
from .torch_format import trace


def write(model: LAMNet, path: Path, metadata: dict[str, str], half: bool) -> None:
    """Compiles a network and writes the package.

    Raises:
        LAMNetError: If there is no C++ compiler that works.
    """
    check_compiler(header="cmath")
    # As in `compile_blocks`: the layers lay out memory themselves.
    options = {"aot_inductor.metadata": metadata, "layout_optimization": False}
    torch._inductor.aoti_compile_and_package(trace(model, half), package_path=str(path), inductor_configs=options)


def load(path: Path) -> Callable[[Tensor], Tensor]:
    """Returns what a package computes."""
    return torch._inductor.aoti_load_package(str(path))
