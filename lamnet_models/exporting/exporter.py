"""Export of a network to a program, with verification against PyTorch."""

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
from ..factory import resolve_model
from ..files import atomic_path
from ..lamnet import LAMNet
from .program import build_metadata, detached_eval_copy

FORMATS = {"onnx": ".onnx", "torch": ".pt2", "aoti": ".pt2"}
"""Formats and their extensions: ONNX, ``torch.export``'s archive, AOTInductor's package."""

SIZES = ((1, 48, 64), (2, 29, 37), (1, 1, 3))
"""Batch, height and width of the verification inputs."""

TOLERANCES = {False: 1e-4, True: 1e-2}
"""Maximum difference relative to the largest value, by ``half``."""


@dataclass(frozen=True)
class Export:
    """Result of an export.

    Attributes:
        path: Output file.
        format: One of [`FORMATS`][lamnet_models.exporting.FORMATS].
        half: Whether the program computes in float16.
        differences: Maximum difference from the float32 network in PyTorch, relative to the largest value, for each of
            [`SIZES`][lamnet_models.exporting.SIZES].
    """

    path: Path
    format: str
    half: bool
    differences: dict[tuple[int, int, int], float]

    @property
    def difference(self) -> float:
        """Maximum over ``differences``."""
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
    """Export a network with dynamic batch and image size, (B, C, H, W) → (B, C, r·H, r·W).

    The exported program is loaded and compared with the network. If they differ, the file is not kept.

    Args:
        model: LAMNet, checkpoint file, or name of a pretrained model.
        path: Output file; its folder must exist.
        format: ``"onnx"``; ``"torch"``, an archive for ``torch.export.load``; or ``"aoti"``, a compiled package for
            ``torch._inductor.aoti_load_package``, which needs a C++ compiler. None selects ``"onnx"`` for ``.onnx`` and
            ``"torch"`` for ``.pt2``.
        half: Whether weights and images are float16.
        device: Device that ``"aoti"`` compiles for. The other formats run on any device.
        on_status: Called with a status message before each stage.

    Returns:
        The exported file and its differences from the network.

    Raises:
        ValueError: If the format is unknown, the extension does not match it, or the device is not available.
        ExportError: If the network is not a LAMNet, packages of the format are missing, or the program differs.
        LAMNetError: If the model is unknown, or a required C++ compiler is missing.
    """
    path = Path(path)
    format = _format_of(path, format)
    target_device = resolve_device(device)
    if format != "aoti" and target_device.type != "cpu":
        raise ValueError(f"device must be 'cpu' for {format}, which runs on any device, got {str(device)!r}")
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
                f"{path}: not kept: {format} differs from PyTorch by {worst:.1e} of the largest value (tolerance "
                f"{TOLERANCES[half]:.0e})"
            )
    return Export(path, format, half, differences)


def _format_of(path: Path, format: str | None) -> str:
    if format is None:
        format = next((name for name, suffix in FORMATS.items() if suffix == path.suffix), None)
        if format is None:
            raise ValueError(f"path must end in .onnx or .pt2 if format is not set, got {str(path)!r}")
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if path.suffix != FORMATS[format]:
        raise ValueError(f"path must end in {FORMATS[format]} for {format}, got {str(path)!r}")
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
