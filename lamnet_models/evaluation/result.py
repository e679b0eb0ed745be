"""What an evaluation found, with everything needed to repeat it."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from ..datasets import KNOWN_DATASETS
from .published import published

_PACKAGES = ("lamnet", "torch", "numpy", "scikit-image", "pillow", "pyvips")


@dataclass(frozen=True)
class ImageScore:
    """The figures of one image.

    Attributes:
        name: Its name.
        psnr: PSNR in dB; infinite where nothing differs.
        ssim: SSIM in [−1, 1].
        size: Width and height in pixels of the large image.
        seconds: What the network took.
    """

    name: str
    psnr: float
    ssim: float
    size: tuple[int, int]
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """A network's figures on a set of images.

    Attributes:
        model: The network's name.
        variant: Name of the paper's model that it is, whatever its weights; None where it is none.
        dataset: The set's name.
        scale: Factor of enlargement.
        psnr: Mean PSNR in dB over images.
        ssim: Mean SSIM over images.
        images: Every image's figures.
        skipped: A line for each image that was left out.
        protocol: Name of the protocol; ``"own"`` if it differs from all that have one.
        border: Pixels left out at each edge.
        channel: ``"y"`` or ``"rgb"``.
        measured: The protocol in words.
        lr: Where the reductions come from, in words.
        dataset_sha256: Digest of the names and pixels of all that was measured on.
        weights: Name of the file of weights, None where there is none.
        weights_sha256: SHA-256 of that file or, for a module, of its tensors.
        device: Where it was computed.
        precision: In what type.
        tile: Side of the tiles; 0 for whole images.
        versions: Versions of what was used.
        seconds: From the first image opened to the last figure.
        forward_seconds: What the network alone took.
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
        """PSNR in dB and SSIM that the paper prints for this model on this set; None where it prints none."""
        return published(self.variant, self.dataset) if self.variant and self.channel == "y" else None

    def summary(self) -> str:
        """Returns one line: the means, the paper's row where there is one, and how it was measured."""
        paper = ""
        if self.published:
            whole = "" if len(self.images) == KNOWN_DATASETS[self.dataset].count else ", on all of it"
            paper = f" (the paper{whole}: {self.published[0]:.2f} dB, {self.published[1]:.4f})"
        count = f"{len(self.images)} images" if len(self.images) != 1 else "1 image"
        left_out = f", {len(self.skipped)} left out" if self.skipped else ""
        return (
            f"{self.dataset} ×{self.scale} {self.model}: {self.psnr:.2f} dB, {self.ssim:.4f}{paper}; mean of "
            f"{count}{left_out}; {self.measured}; {self.lr}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it, ready for JSON, which has no infinity: an infinite PSNR is None."""
        facts = asdict(self) | {"published": self.published, "summary": self.summary()}
        for item in (facts, *facts["images"]):
            item["psnr"] = item["psnr"] if math.isfinite(item["psnr"]) else None
        return facts


def mean(values: Iterable[float]) -> float:
    """Returns the arithmetic mean."""
    values = list(values)
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.inf


def versions() -> dict[str, str]:
    """Returns the versions of what figures depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
