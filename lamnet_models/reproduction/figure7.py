"""Figure 7: how variants converge."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ..training.plot import plot, read_run
from .ablation import Budget, train_variants
from .result import Reproduction, Table
from .table4 import VARIANTS

_SMALL = {"channels": 32, "num_blocks": 1, "depth": 4}
_SHOWN = ("full", "FSA → MHDLSA", "DGFN → GDFN")


def figure7(
    *,
    runs: Sequence[str | os.PathLike] = (),
    train: Budget | str = "300",
    train_data: Sequence[str] = ("sample",),
    folder: str | os.PathLike = "runs/figure7",
    on_status: Callable[[str], None] | None = None,
) -> Reproduction:
    """Reproduces figure 7: PSNR over training steps, from the logs of runs.

    Args:
        runs: Folders of runs; if there are none, three variants of a small model are trained.
        train: Budget of each of those, such as ``"300"`` steps or ``"5m"``.
        train_data: Folders of images or names of sets that they are trained on.
        folder: Takes their runs; what is there is gone on with, and not trained again.
        on_status: Called with what is being done.

    Raises:
        ValueError: If the budget is none.
        LAMNetError: If a folder holds no run, or the training cannot run.
    """
    budget, notes = Budget.parse(train), ()
    if not runs:
        small = {name: _small(VARIANTS[name]) for name in _SHOWN}
        trained = train_variants(small, budget, train_data, Path(folder), on_status, model_args=_SMALL, patch=24)
        runs = [result.folder for result in trained.values()]
        notes = (
            f"{budget} of training a model of {_SMALL['channels']} channels and {_SMALL['depth']} mixers on "
            f"{', '.join(train_data)}: how such runs begin, where the paper shows 500,000 steps of the full models.",
        )
    rows = []
    for run in runs:
        found = read_run(run)["validation"]
        best = max((line["psnr"] for line in found), default=None)
        last = found[-1] if found else {}
        shown = [None if value is None else f"{value:.2f}" for value in (best, last.get("psnr"))]
        rows.append((Path(run).name, last.get("step"), *shown, last.get("dataset", "–")))
    columns = ("run", "step", "best PSNR", "last PSNR", "validated on")
    return Reproduction(
        "figure7",
        "Figure 7: convergence",
        (Table("Runs", columns, tuple(rows)),),
        notes,
        lambda path: plot(runs, path),
    )


def _small(arguments: dict) -> dict:
    """Returns a variant's arguments for the small model, whose widths and groups are its own."""
    return {key: value for key, value in arguments.items() if key not in ("heads", "hidden_channels")}
