"""Table 4: the ablations, each a model that can be built, and trained beside the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..complexity import Complexity, complexity
from ..evaluation import evaluate
from ..evaluation.published import Published
from ..evaluation.published import table4 as published_rows
from ..registry import create_model
from ..variants import format_settings
from .ablation import Budget, train_variants
from .printed import as_printed, verdict
from .result import Cell, Reproduction, Score, Table

VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "window 19": {"window": [[1, 2], [3, 3]]},
    "window 13": {"window": [[1], [6]]},
    "FSA → MHDLSA": {"attention": "mhdlsa", "heads": 6},
    "CSM → Linear": {"channel_mixer": "linear"},
    "CSM → None": {"channel_mixer": "none"},
    "IEM → None": {"exchange": False},
    "DGFN → GDFN": {"feed_forward": "gdfn", "hidden_channels": 70},
    "DGFN → FFN": {"feed_forward": "ffn"},
}
"""The variants by the names of the table's rows, as what differs from ``lamnet_x2``."""

_REMARKS = {
    "FSA → MHDLSA": "the paper says neither width nor groups. At DLGSANet's width of the network that predicts the "
    "weights, a quarter, no whole number of groups gives 839K; 6 are the nearest.",
    "DGFN → GDFN": "the paper does not say how wide. 70 hidden channels are the nearest to both counts.",
}


def table4(
    *,
    train: Budget | str | None = None,
    variants: Sequence[str] | None = None,
    train_data: Sequence[str] = ("sample",),
    dataset: str = "sample",
    data: str | os.PathLike | None = None,
    folder: str | os.PathLike = "runs/table4",
    limit: int | None = None,
    say: Callable[[str], None] | None = None,
    **recipe: Any,
) -> Reproduction:
    """Reproduces table 4: parameters and MACs of every ablation and, if asked, its PSNR after a short training.

    Args:
        train: Budget of each variant's training, such as ``"10m"``, ``"2h"`` or ``"500"`` steps; None for no training.
        variants: Names of the rows; all if None.
        train_data: Folders of images or names of sets to train on.
        dataset: Set to measure on after the training.
        data: Where that set is looked for.
        folder: Takes the runs; what is there is gone on with, and not trained again.
        limit: Measure only so many images of the set.
        say: Called with what is being done.
        **recipe: Further fields of [`Recipe`][lamnet_models.training.Recipe] that differ from the ablations' own.

    Raises:
        ValueError: If there is no variant of a name.
        LAMNetError: If the training cannot run.
    """
    budget = None if train is None else Budget.of(train)
    chosen = list(VARIANTS) if variants is None else list(variants)
    for name in chosen:
        if name not in VARIANTS:
            raise ValueError(f"variants has {name!r}, but it must be of {', '.join(VARIANTS)}")
    rows: dict[str, list[Cell]] = {row.model: _cost_cells(row) for row in published_rows() if row.model in chosen}
    columns = ["variant", "--set", "parameters", "paper's", "MACs", "MACs, paper's", "ours and the paper's"]
    notes = ["MACs are counted over convolutions and matrix products, at an output of 1280×720."]
    notes += [f"{name}: {remark}" for name, remark in _REMARKS.items() if name in chosen]
    if budget is None:
        columns += ["Urban100", "Manga109"]
        for row in published_rows():
            if row.model in chosen:
                rows[row.model] += [Score(None, row.scores[name]) for name in ("urban100", "manga109")]
        notes.append("PSNR in dB / SSIM in brackets are the paper's; `--train BUDGET` trains the group here.")
    else:
        arguments = {name: VARIANTS[name] for name in chosen}
        results = train_variants(arguments, budget, train_data, Path(folder), say, **recipe)
        trained = {}
        for name, result in results.items():
            if say:
                say(f"{name}: measuring on {dataset}")
            last = result.folder / "last.safetensors"
            trained[name] = result.step, evaluate(last, dataset, data_dir=data, limit=limit).psnr
        columns += ["steps", f"PSNR on {dataset}", "to the full model", "Urban100, paper's"]
        paper = {row.model: row.scores["urban100"] for row in published_rows()}
        for name, (steps, psnr) in trained.items():
            gain = f"{psnr - trained['full'][1]:+.3f}".replace("-", "−") if "full" in trained else None
            rows[name] += [steps, f"{psnr:.3f}", gain, f"{paper[name][0]:.2f}"]
        notes.append(
            f"PSNR in dB on Y after {budget} of training for each variant, by one recipe and one seed, on "
            f"{', '.join(train_data)}. So short a training ranks how fast variants learn, not what they come to."
        )
        if limit:
            notes.append(f"Measured on the first {limit} images of {dataset} alone.")
    return Reproduction(
        "table4",
        "Table 4: ablations at ×2" + (f", after {budget} of training" if budget else ""),
        (Table("Variants", tuple(columns), tuple(map(tuple, rows.values())), tuple(notes)),),
    )


def _cost_cells(row: Published) -> list[Cell]:
    cost = _cost(row.model)
    params, macs = verdict(cost.params, row.params), verdict(cost.macs, row.macs)
    said = params if params == macs else f"parameters: {params}; MACs: {macs}"
    shown = as_printed(cost.macs, "0.0G")
    return [row.model, format_settings(VARIANTS[row.model]) or "–", cost.params, row.params, shown, row.macs, said]


@cache
def _cost(variant: str) -> Complexity:
    return complexity(create_model("lamnet_x2", device=torch.device("meta"), **VARIANTS[variant]))
