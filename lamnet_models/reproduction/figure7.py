"""Figure 7: convergence of variants."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ..training.plot import plot, read_run
from .ablation import Budget, train_variants
from .result import Reproduction, Table
from .table4 import VARIANTS

_SMALL = {"embed_dim": 32, "num_blocks": 1, "depth": 4}
_SHOWN = ("full", "FSA → MHDLSA", "DGFN → GDFN")


def figure7(
    *,
    runs: Sequence[str | os.PathLike] = (),
    train: Budget | str = "300",
    train_data: Sequence[str] = ("sample",),
    folder: str | os.PathLike = "runs/figure7",
    on_status: Callable[[str], None] | None = None,
) -> Reproduction:
    """Reproduce figure 7: PSNR over training steps, from the logs of runs.

    Args:
        runs: Run folders; if empty, three variants of a small model are trained.
        train: Budget of each of these, such as ``"300"`` steps or ``"5m"``.
        train_data: Folders of images or names of datasets to train them on.
        folder: Parent of their run folders; existing runs are resumed, finished ones kept.
        on_status: Called with status lines.

    Raises:
        ValueError: If the budget is invalid.
        LAMNetError: If a folder contains no run, or the training fails.
    """
    budget, notes = Budget.parse(train), ()
    if not runs:
        small = {name: _small(VARIANTS[name]) for name in _SHOWN}
        trained = train_variants(small, budget, train_data, Path(folder), on_status, model_args=_SMALL, patch=24)
        runs = [result.folder for result in trained.values()]
        notes = (
            f"{budget} of training a model of {_SMALL['embed_dim']} channels and {_SMALL['depth']} mixers on "
            f"{', '.join(train_data)}: the start of training only; the paper shows 500,000 steps of the full models.",
        )
    rows = []
    for run in runs:
        validations = read_run(run)["validation"]
        best = max((line["psnr"] for line in validations), default=None)
        last = validations[-1] if validations else {}
        psnr = [None if value is None else f"{value:.2f}" for value in (best, last.get("psnr"))]
        rows.append((Path(run).name, last.get("step"), *psnr, last.get("dataset", "–")))
    columns = ("run", "step", "best PSNR", "last PSNR", "validated on")
    return Reproduction(
        "figure7",
        "Figure 7: convergence",
        (Table("Runs", columns, tuple(rows)),),
        notes,
        lambda path: plot(runs, path),
    )


def _small(arguments: dict) -> dict:
    """Return a variant's arguments without widths and groups, which the small model sets itself."""
    return {key: value for key, value in arguments.items() if key not in ("num_heads", "hidden_dim")}
