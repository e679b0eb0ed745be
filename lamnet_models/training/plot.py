"""Curves of convergence: PSNR over steps, of one run or several."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import TrainingError
from ..files import atomic_path
from .events import read_log
from .recipe import load_recipe

_LABELS = {"step": "step", "hours": "hours", "pixels": "LR pixels"}


def plot(runs: Sequence[str | os.PathLike], output: str | os.PathLike, over: str = "step") -> Path:
    """Draws the validated PSNR of runs, as in Figure 7 of the paper, and their loss below it.

    Args:
        runs: The runs' folders.
        output: The picture: ``.png``, ``.svg`` or ``.pdf``.
        over: ``"step"``, ``"hours"`` or ``"pixels"``, the LR pixels seen.

    Returns:
        The picture's path.

    Raises:
        TrainingError: If a folder holds no run, or nothing has been logged in it.
        ValueError: If ``over`` is none of these.
    """
    if over not in _LABELS:
        raise ValueError(f"over must be one of {', '.join(map(repr, _LABELS))}, got {over!r}")
    logs = {str(run): read_run(run) for run in runs}
    from matplotlib.figure import Figure  # without pyplot, which would look for a screen

    figure = Figure(figsize=(7, 6), layout="constrained")
    top, bottom = figure.subplots(2, sharex=True)
    for name, lines in logs.items():
        position = _axis_position(name, over)
        for axes, kind, field in ((top, "validation", "psnr"), (bottom, "report", "loss")):
            points = [(position(line), line[field]) for line in lines[kind]]
            axes.plot(*zip(*points, strict=True) if points else ((), ()), label=Path(name).name, linewidth=1.5)
    top.set_ylabel("PSNR (dB)")
    bottom.set_ylabel("loss")
    bottom.set_yscale("log")
    bottom.set_xlabel(_LABELS[over])
    for axes in (top, bottom):
        axes.grid(alpha=0.3)
    top.legend()
    with atomic_path(output) as temporary:
        figure.savefig(temporary, dpi=150)
    return Path(output)


def _axis_position(run: str, over: str) -> Callable[[dict], float]:
    """Returns the function from a line of a run's log to its place on the horizontal axis."""
    if over == "step":
        return lambda line: line["step"]
    if over == "hours":
        return lambda line: line["seconds"] / 3600

    def pixels(line: dict) -> float:
        if "pixels" in line:
            return line["pixels"]
        # Logs of earlier versions have no pixels.
        return line["step"] * load_recipe(Path(run) / "recipe.yaml").pixels_per_step

    return pixels


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
