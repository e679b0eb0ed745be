"""Training curves of one or several runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import TrainingError
from ..files import atomic_path
from .callbacks import read_log
from .recipe import load_recipe

_LABELS = {"step": "step", "hours": "hours", "pixels": "LR pixels"}


def plot(runs: Sequence[str | os.PathLike], output: str | os.PathLike, over: str = "step") -> Path:
    """Plot the validation PSNR of runs, as in Figure 7 of the paper, and their training loss.

    Args:
        runs: Folders of the runs.
        output: Image file to write: ``.png``, ``.svg`` or ``.pdf``.
        over: Horizontal axis: ``"step"``, ``"hours"`` or ``"pixels"`` (LR pixels seen).

    Returns:
        Path of the image.

    Raises:
        TrainingError: If a folder contains no run, or its log is empty.
        ValueError: If ``over`` is invalid.
    """
    if over not in _LABELS:
        raise ValueError(f"over must be one of {', '.join(map(repr, _LABELS))}, got {over!r}")
    logs = {str(run): read_run(run) for run in runs}
    from matplotlib.figure import Figure  # not pyplot, which selects a display backend

    figure = Figure(figsize=(7, 6), layout="constrained")
    top, bottom = figure.subplots(2, sharex=True)
    for name, entries in logs.items():
        position = _axis_position(name, over)
        for axes, kind, field in ((top, "validation", "psnr"), (bottom, "report", "loss")):
            points = [(position(entry), entry[field]) for entry in entries[kind]]
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
    """Return a function from a log entry to its horizontal coordinate."""
    if over == "step":
        return lambda entry: entry["step"]
    if over == "hours":
        return lambda entry: entry["seconds"] / 3600

    def pixels(entry: dict) -> float:
        if "pixels" in entry:
            return entry["pixels"]
        # Logs of earlier versions lack pixels.
        return entry["step"] * load_recipe(Path(run) / "recipe.yaml").pixels_per_step

    return pixels


def read_run(run: str | os.PathLike) -> dict[str, list[dict]]:
    """Return the log entries of a run by kind, ``"report"`` and ``"validation"``.

    Raises:
        TrainingError: If the folder contains no run, or its log is empty.
    """
    path = Path(run) / "log.jsonl"
    if not path.is_file():
        raise TrainingError(f"run must be the folder of a run, got {run} (log.jsonl is missing)")
    log = read_log(path)
    entries = {kind: [entry for entry in log if entry.get("kind") == kind] for kind in ("report", "validation")}
    if not any(entries.values()):
        raise TrainingError(f"{path} has no reports or validations")
    return entries
