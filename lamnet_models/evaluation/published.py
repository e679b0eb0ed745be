"""Results printed in the LAMNet paper, loaded lazily from ``published.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ..names import FAMILIES, find_variant

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
    return yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


@cache
def table3() -> tuple[Published, ...]:
    """Return table 3: comparison of models at ×2, ×3 and ×4."""
    return tuple(
        Published(model, scale, params, macs, _scores(BENCHMARKS, cells))
        for scale, model, params, macs, *cells in published_data()["table3"]
    )


@cache
def table4() -> tuple[Published, ...]:
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
    row = next((row for row in table3() if row.name == model), None)
    return row and row.scores.get(dataset)


def _scores(sets: tuple[str, ...], cells: list[str | None]) -> dict[str, tuple[float, float]]:
    pairs = ((name, cell.split("/")) for name, cell in zip(sets, cells, strict=True) if cell)
    return {name: (float(psnr), float(ssim)) for name, (psnr, ssim) in pairs}
