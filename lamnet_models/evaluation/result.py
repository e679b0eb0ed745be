"""Evaluation results, with the settings needed to repeat them."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from ..data import KNOWN_DATASETS
from .published import published

_PACKAGES = ("lamnet", "torch", "numpy", "scikit-image", "pillow", "pyvips")


@dataclass(frozen=True)
class ImageScore:
    """Metrics of one image.

    Attributes:
        name: Name of the image.
        psnr: PSNR in dB; infinite for equal images.
        ssim: SSIM in [−1, 1].
        size: Width and height in pixels of the HR image.
        seconds: Time of the forward pass.
    """

    name: str
    psnr: float
    ssim: float
    size: tuple[int, int]
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a model on a dataset.

    Attributes:
        model: Name of the model.
        variant: Name of the paper's model with this architecture, regardless of weights; None for other networks.
        dataset: Name of the dataset.
        scale: Scale factor.
        psnr: Mean PSNR in dB over images.
        ssim: Mean SSIM over images.
        images: Metrics per image.
        skipped: One line per skipped image.
        protocol: Name of the protocol; ``"own"`` for a custom one.
        border: Pixels cropped at each edge.
        channel: ``"y"`` or ``"rgb"``.
        measured: Description of the protocol.
        lr: Description of the source of the LR images.
        dataset_sha256: Digest of the names and pixels of all evaluated images.
        weights: File name of the weights, None without a file.
        weights_sha256: SHA-256 of that file or, for a module, of its tensors.
        device: Device of the computation.
        precision: Precision of the computation, as it ran.
        tile: Tile side in pixels that ran, or ``"exact"``; 0: whole images. The smallest of all images.
        versions: Versions of Python and packages.
        seconds: Total time.
        forward_seconds: Time of all forward passes.
    """

    model: str
    variant: str | None
    dataset: str
    scale: int
    psnr: float
    ssim: float
    images: tuple[ImageScore, ...]
    skipped: tuple[str, ...]
    protocol: str
    border: int
    channel: str
    measured: str
    lr: str
    dataset_sha256: str
    weights: str | None
    weights_sha256: str | None
    device: str
    precision: str
    tile: int | str
    versions: dict[str, str]
    seconds: float
    forward_seconds: float

    @property
    def published(self) -> tuple[float, float] | None:
        """PSNR in dB and SSIM printed in the paper for this model and dataset; None if it has none."""
        return published(self.variant, self.dataset) if self.variant and self.channel == "y" else None

    def summary(self) -> str:
        """Return one line: mean metrics, the paper's if available, protocol and LR source."""
        paper = ""
        if self.published:
            subset = "" if len(self.images) == KNOWN_DATASETS[self.dataset].count else ", full dataset"
            paper = f" (paper{subset}: {self.published[0]:.2f} dB, {self.published[1]:.4f})"
        count = f"{len(self.images)} images" if len(self.images) != 1 else "1 image"
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        return (
            f"{self.dataset} ×{self.scale} {self.model}: {self.psnr:.2f} dB, {self.ssim:.4f}{paper}; mean of "
            f"{count}{skipped}; {self.measured}; {self.lr}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-serializable values; an infinite PSNR becomes None."""
        result = asdict(self) | {"published": self.published, "summary": self.summary()}
        for item in (result, *result["images"]):
            item["psnr"] = item["psnr"] if math.isfinite(item["psnr"]) else None
        return result


def mean(values: Iterable[float]) -> float:
    """Return the arithmetic mean."""
    values = list(values)
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.inf


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect metrics."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
