"""Evaluation results with the settings to repeat them, and the results printed in the paper."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from ..data import KNOWN_DATASETS
from ..errors import quantity
from ..names import FAMILIES, find_variant

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
        protocol: Name of the protocol; ``"custom"`` with another border or channel.
        border: Pixels cropped at each edge.
        channel: ``"y"`` or ``"rgb"``.
        measured: Description of the protocol.
        lr: Description of the source of the LR images.
        degradations: Their degradations, such as ``"noise=10,jpeg=75"``; empty for none.
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
    degradations: str
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
        is_comparable = self.variant and self.channel == "y" and not self.degradations
        return published(self.variant, self.dataset) if is_comparable else None

    def summary(self) -> str:
        """Return one line: mean metrics, the paper's if available, protocol and LR source."""
        paper = ""
        if self.published:
            subset = "" if len(self.images) == KNOWN_DATASETS[self.dataset].count else ", full dataset"
            paper = f" (paper{subset}: {self.published[0]:.2f} dB, {self.published[1]:.4f})"
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        return (
            f"{self.dataset} ×{self.scale} {self.model}: {self.psnr:.2f} dB, {self.ssim:.4f}{paper}; mean of "
            f"{quantity(len(self.images), 'image')}{skipped}; {self.measured}; {self.lr}"
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


# Results printed in the paper, loaded lazily from published.yaml


BENCHMARKS = ("set5", "set14", "bsd100", "urban100", "manga109")
"""Benchmark datasets of the paper's table 3, in its order."""


@dataclass(frozen=True)
class Published:
    """A row of the paper's table 3 or 4.

    Attributes:
        model: Name of the model as printed.
        scale: Scale factor.
        params: Number of parameters as printed, such as ``"828K"``; None if missing.
        macs: Multiply-accumulates as printed, such as ``"185G"``; None if missing.
        scores: PSNR in dB and SSIM, by dataset.
    """

    model: str
    scale: int
    params: str | None
    macs: str | None
    scores: dict[str, tuple[float, float]]

    @property
    def name(self) -> str | None:
        """Registered model name, None for models of other papers."""
        return find_variant(self.scale, FAMILIES[self.model]) if self.model in FAMILIES else None

    @property
    def key(self) -> str:
        """Name on the command line: the registered name, or ``"swinir_light"`` for SwinIR-light."""
        return self.name or self.model.lower().replace("-", "_")


@cache
def published_data() -> dict[str, Any]:
    """Return the content of ``published.yaml``."""
    return yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))


@cache
def published_table3() -> tuple[Published, ...]:
    """Return table 3: comparison of models at ×2, ×3 and ×4."""
    return tuple(
        Published(model, scale, params, macs, _scores(BENCHMARKS, cells))
        for scale, model, params, macs, *cells in published_data()["table3"]
    )


@cache
def published_table4() -> tuple[Published, ...]:
    """Return table 4: ablations at ×2."""
    return tuple(
        Published(variant, 2, params, macs, _scores(("urban100", "manga109"), cells))
        for variant, params, macs, *cells in published_data()["table4"]
    )


def published(model: str, dataset: str) -> tuple[float, float] | None:
    """Return the PSNR in dB and the SSIM printed in the paper, or None if it has none.

    Args:
        model: Registered model name.
        dataset: Name of a dataset.
    """
    row = next((row for row in published_table3() if row.name == model), None)
    return row and row.scores.get(dataset)


def _scores(sets: tuple[str, ...], cells: list[str | None]) -> dict[str, tuple[float, float]]:
    pairs = ((name, cell.split("/")) for name, cell in zip(sets, cells, strict=True) if cell)
    return {name: (float(psnr), float(ssim)) for name, (psnr, ssim) in pairs}
