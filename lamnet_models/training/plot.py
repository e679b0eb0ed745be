"""Curves of convergence: PSNR over steps, of one run or several."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import TrainingError
from ..files import atomic_path
from .events import read_log


def plot(runs: Sequence[str | os.PathLike], output: str | os.PathLike, over: str = "step") -> Path:
    """Draws the validated PSNR of runs, as in Figure 7 of the paper, and their loss below it.

    Args:
        runs: The runs' folders.
        output: The picture: ``.png``, ``.svg`` or ``.pdf``.
        over: ``"step"`` or ``"hours"``.

    Returns:
        The picture's path.

    Raises:
        TrainingError: If a folder holds no run, or nothing has been logged in it.
        ValueError: If ``over`` is neither of the two.
    """
    if over not in ("step", "hours"):
        raise ValueError(f"over is {over!r}, but it must be 'step' or 'hours'")
    logs = {str(run): read_run(run) for run in runs}
    from matplotlib.figure import Figure  # without pyplot, which would look for a screen

    figure = Figure(figsize=(7, 6), layout="constrained")
    top, bottom = figure.subplots(2, sharex=True)
    for name, lines in logs.items():
        for axes, kind, field in ((top, "validation", "psnr"), (bottom, "report", "loss")):
            points = [(line["step"] if over == "step" else line["seconds"] / 3600, line[field]) for line in lines[kind]]
            axes.plot(*zip(*points, strict=True) if points else ((), ()), label=Path(name).name, linewidth=1.5)
    top.set_ylabel("PSNR (dB)")
    bottom.set_ylabel("loss")
    bottom.set_yscale("log")
    bottom.set_xlabel("step" if over == "step" else "hours")
    for axes in (top, bottom):
        axes.grid(alpha=0.3)
    top.legend()
    with atomic_path(output) as temporary:
        figure.savefig(temporary, dpi=150)
    return Path(output)


def read_run(run: str | os.PathLike) -> dict[str, list[dict]]:
    """Returns the lines of a run's log by their kind, ``"report"`` and ``"validation"``.

    Raises:
        TrainingError: If the folder holds no run, or nothing has been logged in it.
    """
    path = Path(run) / "log.jsonl"
    if not path.is_file():
        raise TrainingError(f"{run} holds no run: there is no log.jsonl in it")
    lines = read_log(path)
    kinds = {kind: [line for line in lines if line.get("kind") == kind] for kind in ("report", "validation")}
    if not any(kinds.values()):
        raise TrainingError(f"{path}: nothing has been logged yet")
    return kinds
