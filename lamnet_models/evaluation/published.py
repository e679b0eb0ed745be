"""What the LAMNet paper prints, of its own models and of others: ``published.yaml``, read when first wanted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

BENCHMARKS = ("set5", "set14", "bsd100", "urban100", "manga109")
"""The sets of the paper's table 3, in its order."""

_OURS = {"LAMNet": "lamnet_x{}", "LAMNet-large": "lamnet_large_x{}"}


@dataclass(frozen=True)
class Published:
    """A row of one of the paper's tables.

    Attributes:
        model: The model's name as the paper prints it.
        scale: Factor of enlargement.
        params: Number of parameters as printed, such as ``"828K"``; None where there is none.
        macs: Multiply-accumulates as printed, such as ``"185G"``; None where there are none.
        scores: PSNR in dB and SSIM, by set.
    """

    model: str
    scale: int
    params: str | None
    macs: str | None
    scores: dict[str, tuple[float, float]]

    @property
    def name(self) -> str | None:
        """Our name for the model, None if it is none of ours."""
        form = _OURS.get(self.model)
        return form and form.format(self.scale)

    @property
    def key(self) -> str:
        """What the model is called on the command line: our name for it, or ``"swinir_light"`` for SwinIR-light."""
        return self.name or self.model.lower().replace("-", "_")


@cache
def published_data() -> dict[str, Any]:
    """Returns all of the file."""
    return yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


@cache
def table3() -> tuple[Published, ...]:
    """Returns table 3: models beside each other, at three scales."""
    return tuple(
        Published(model, scale, params, macs, _scores(BENCHMARKS, cells))
        for scale, model, params, macs, *cells in published_data()["table3"]
    )


@cache
def table4() -> tuple[Published, ...]:
    """Returns table 4: variants of the model for ×2."""
    return tuple(
        Published(variant, 2, params, macs, _scores(("urban100", "manga109"), cells))
        for variant, params, macs, *cells in published_data()["table4"]
    )


def published(model: str, dataset: str) -> tuple[float, float] | None:
    """Returns the PSNR in dB and the SSIM that the paper prints, or None where it prints none.

    Args:
        model: Name of a model.
        dataset: Name of a set.
    """
    row = next((row for row in table3() if row.name == model), None)
    return row and row.scores.get(dataset)


def _scores(sets: tuple[str, ...], cells: list[str | None]) -> dict[str, tuple[float, float]]:
    pairs = ((name, cell.split("/")) for name, cell in zip(sets, cells, strict=True) if cell)
    return {name: (float(psnr), float(ssim)) for name, (psnr, ssim) in pairs}
