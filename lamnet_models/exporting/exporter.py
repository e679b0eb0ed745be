"""A network written as a program, run again, compared, and kept only if it computes the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from lamnet_layers import use_backend

from ..devices import resolve_device, without_onednn
from ..errors import ExportError
from ..files import atomic_path
from ..lamnet import LAMNet
from ..registry import resolve_model
from .program import build_metadata, detached_eval_copy

FORMATS = {"onnx": ".onnx", "torch": ".pt2", "aoti": ".pt2"}
"""Formats and their extensions: ONNX, ``torch.export``'s archive, AOTInductor's package."""

SIZES = ((1, 48, 64), (2, 29, 37), (1, 1, 3))
"""Batch, height and width of the images on which a program is compared."""

TOLERANCES = {False: 1e-4, True: 1e-2}
"""Largest difference that is rounding, as a share of the largest value; in half precision, and not, by ``half``."""


@dataclass(frozen=True)
class Export:
    """A program that was written.

    Attributes:
        path: The file.
        format: One of [`FORMATS`][lamnet_models.exporting.FORMATS].
        half: Whether it computes in float16.
        differences: For each of [`SIZES`][lamnet_models.exporting.SIZES], the largest difference to the float32 network
            in PyTorch, as a share of the largest value.
    """

    path: Path
    format: str
    half: bool
    differences: dict[tuple[int, int, int], float]

    @property
    def difference(self) -> float:
        """The largest of the differences."""
        return max(self.differences.values())


def export(
    model: nn.Module | str | os.PathLike,
    path: str | os.PathLike,
    *,
    format: str | None = None,
    half: bool = False,
    device: torch.device | str = "cpu",
    on_status: Callable[[str], None] | None = None,
) -> Export:
    """Writes a network as a program for images of any number and size, (B, C, H, W) → (B, C, r·H, r·W).

    The program is run again and compared with the network; nothing is kept that does not compute the same.

    Args:
        model: A LAMNet, a checkpoint file, or the name of a pretrained model.
        path: The file to write; its folder must exist.
        format: ``"onnx"``; ``"torch"``, an archive for ``torch.export.load``; ``"aoti"``, a compiled package for
            ``torch._inductor.aoti_load_package``, which needs a C++ compiler. None is ``"onnx"`` for ``.onnx`` and
            ``"torch"`` for ``.pt2``.
        half: Whether weights and images are float16.
        device: What ``"aoti"`` compiles for, and runs on alone. The other formats run on any.
        on_status: Called with what is about to be done.

    Returns:
        What was written, and how far it is from the network.

    Raises:
        ValueError: If the format is unknown, or the extension is another one's, or there is no such device.
        ExportError: If the network is no LAMNet, the format's packages are missing, or the program differs.
        LAMNetError: If there is no such model, or no compiler where one is needed.
    """
    path = Path(path)
    format = _format_of(path, format)
    target_device = resolve_device(device)
    if format != "aoti" and target_device.type != "cpu":
        raise ValueError(f"device is {str(device)!r}, but {format} runs on any: only aoti is made for one")
    on_status = on_status or (lambda _: None)
    network = detached_eval_copy(resolve_model(model))
    module = import_module(f".{format}_format", __package__)
    with atomic_path(path) as temporary, torch.no_grad(), use_backend("eager"), without_onednn(half):
        on_status(f"writing {format}")
        module.write(detached_eval_copy(network).to(target_device), temporary, build_metadata(network, half), half)
        run = module.load(temporary)
        differences = {}
        for size in SIZES:
            on_status("comparing at " + "×".join(map(str, size)))
            differences[size] = _difference(network, run, size, half, target_device)
        worst = max(differences.values())
        if not worst <= TOLERANCES[half]:
            raise ExportError(
                f"{path}: not kept, as what {format} computes differs from PyTorch by {worst:.1e} of the largest "
                f"value, and rounding by {TOLERANCES[half]:.0e} at most"
            )
    return Export(path, format, half, differences)


def _format_of(path: Path, format: str | None) -> str:
    if format is None:
        format = next((name for name, suffix in FORMATS.items() if suffix == path.suffix), None)
        if format is None:
            raise ValueError(f"path is {str(path)!r}, but it must end in .onnx or .pt2, or format must be given")
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}, but it must be one of {', '.join(FORMATS)}")
    if path.suffix != FORMATS[format]:
        raise ValueError(f"path is {str(path)!r}, but for {format} it must end in {FORMATS[format]}")
    return format


def _difference(
    network: LAMNet, run: Callable[[Tensor], Tensor], size: tuple[int, int, int], half: bool, device: torch.device
) -> float:
    batch, height, width = size
    image = torch.rand(batch, network.in_chans, height, width, generator=torch.Generator().manual_seed(0))
    image = image.to(torch.float16 if half else torch.float32)
    expected = network(image.float())
    result = run(image.to(device)).cpu().float()
    if result.shape != expected.shape:
        return float("inf")
    return ((result - expected).abs().max() / expected.abs().max()).nan_to_num(float("inf")).item()
