"""Table 4: ablations, as model variants with an optional short training."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..cost import Complexity, complexity
from ..evaluation import evaluate
from ..evaluation.published import Published
from ..evaluation.published import table4 as published_rows
from ..factory import create_model
from ..variants import format_settings
from .ablation import Budget, train_variants
from .printed import compare_with_printed, format_like
from .result import Cell, Reproduction, Score, Table

VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "window 19": {"window": [[1, 2], [3, 3]]},
    "window 13": {"window": [[1], [6]]},
    "FSA → MHDLSA": {"attn_layer": "mhdlsa", "num_heads": 6},
    "CSM → Linear": {"channel_layer": "linear"},
    "CSM → None": {"channel_layer": None},
    "IEM → None": {"gate_layer": None},
    "DGFN → GDFN": {"mlp_layer": "gdfn", "hidden_dim": 70},
    "DGFN → FFN": {"mlp_layer": "ffn"},
}
"""Overridden arguments of ``lamnet_x2``, by row of the table."""

_REMARKS = {
    "FSA → MHDLSA": "the paper states neither width nor groups. With DLGSANet's width of the weight predictor, a "
    "quarter, no integer number of groups gives 839K; 6 is the nearest.",
    "DGFN → GDFN": "the paper does not state the width. 70 hidden channels are the nearest to both counts.",
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
    on_status: Callable[[str], None] | None = None,
    **recipe: Any,
) -> Reproduction:
    """Reproduce table 4: parameters and MACs of ablations, optionally PSNR after training.

    Args:
        train: Training budget of each variant, such as ``"10m"``, ``"2h"`` or ``"500"`` steps; None for no training.
        variants: Names of the rows; all if None.
        train_data: Folders of images or names of datasets to train on.
        dataset: Dataset to evaluate on after the training.
        data: Dataset root of ``dataset``.
        folder: Parent of the run folders; existing runs are resumed, finished ones kept.
        limit: Number of images to evaluate, from the first; None for all.
        on_status: Called with status lines.
        **recipe: Overridden fields of [`Recipe`][lamnet_models.training.Recipe].

    Raises:
        ValueError: If a variant is unknown.
        LAMNetError: If the training fails.
    """
    budget = None if train is None else Budget.parse(train)
    chosen = list(VARIANTS) if variants is None else list(variants)
    for name in chosen:
        if name not in VARIANTS:
            raise ValueError(f"variants must be of {', '.join(VARIANTS)}, got {name!r}")
    rows: dict[str, list[Cell]] = {row.model: _cost_cells(row) for row in published_rows() if row.model in chosen}
    columns = ["variant", "--set", "parameters", "paper's", "MACs", "MACs, paper's", "ours and the paper's"]
    notes = ["MACs are counted over convolutions and matrix products, at an output of 1280×720."]
    notes += [f"{name}: {remark}" for name, remark in _REMARKS.items() if name in chosen]
    if budget is None:
        columns += ["Urban100", "Manga109"]
        for row in published_rows():
            if row.model in chosen:
                rows[row.model] += [Score(None, row.scores[name]) for name in ("urban100", "manga109")]
        notes.append("PSNR in dB / SSIM in brackets are the paper's; `--train BUDGET` trains the variants.")
    else:
        arguments = {name: VARIANTS[name] for name in chosen}
        results = train_variants(arguments, budget, train_data, Path(folder), on_status, **recipe)
        trained = {}
        for name, result in results.items():
            if on_status:
                on_status(f"{name}: evaluating on {dataset}")
            last = result.folder / "last.safetensors"
            trained[name] = result.step, evaluate(last, dataset, data_dir=data, limit=limit).psnr
        columns += ["steps", f"PSNR on {dataset}", "to the full model", "Urban100, paper's"]
        paper = {row.model: row.scores["urban100"] for row in published_rows()}
        for name, (steps, psnr) in trained.items():
            gain = f"{psnr - trained['full'][1]:+.3f}".replace("-", "−") if "full" in trained else None
            rows[name] += [steps, f"{psnr:.3f}", gain, f"{paper[name][0]:.2f}"]
        notes.append(
            f"PSNR in dB on Y after {budget} of training per variant, with one recipe and one seed, on "
            f"{', '.join(train_data)}. A short training ranks the speed of learning, not the final quality."
        )
        if limit:
            notes.append(f"Evaluated on the first {limit} images of {dataset} only.")
    return Reproduction(
        "table4",
        "Table 4: ablations at ×2" + (f", after {budget} of training" if budget else ""),
        (Table("Variants", tuple(columns), tuple(map(tuple, rows.values())), tuple(notes)),),
    )


def _cost_cells(row: Published) -> list[Cell]:
    cost = _cost(row.model)
    params, macs = compare_with_printed(cost.params, row.params), compare_with_printed(cost.macs, row.macs)
    comparison = params if params == macs else f"parameters: {params}; MACs: {macs}"
    macs_text = format_like(cost.macs, "0.0G")
    return [
        row.model,
        format_settings(VARIANTS[row.model]) or "–",
        cost.params,
        row.params,
        macs_text,
        row.macs,
        comparison,
    ]


@cache
def _cost(variant: str) -> Complexity:
    return complexity(create_model("lamnet_x2", device=torch.device("meta"), **VARIANTS[variant]))
