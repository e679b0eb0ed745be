"""Training events, callbacks, the log, and plots of logs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import TrainingError
from ..filesystem import atomic_path
from .recipe import load_recipe

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@dataclass(frozen=True)
class Report:
    """Progress report of a run.

    Attributes:
        step: Steps done.
        loss: Mean loss since the last report.
        lr: Learning rate.
        seconds: Training time in seconds, earlier sessions included.
        images_per_second: Patches per second since the last report.
        progress: Fraction of the budget used, from 0 to 1.
        pixels: LR pixels seen since the start of the run.
        pixels_per_second: LR pixels per second since the last report.
        seconds_left: Estimated seconds to the end of the budget.
    """

    step: int
    loss: float
    lr: float
    seconds: float
    images_per_second: float
    progress: float
    pixels: int = 0
    pixels_per_second: float = 0.0
    seconds_left: float = 0.0


@dataclass(frozen=True)
class Validation:
    """Validation result.

    Attributes:
        step: Steps done.
        psnr: Mean PSNR in dB on the luma.
        ssim: Mean SSIM on the luma.
        dataset: Name of the validation dataset.
        seconds: Training time in seconds, earlier sessions included.
        best: Whether the PSNR is the highest so far.
        pixels: LR pixels seen since the start of the run.
    """

    step: int
    psnr: float
    ssim: float
    dataset: str
    seconds: float
    best: bool
    pixels: int = 0


class TrainingCallback(Protocol):
    """Interface for observers of a training run."""

    def on_report(self, report: Report) -> None:
        """Handle a progress report."""

    def on_validation(self, validation: Validation) -> None:
        """Handle a validation result."""

    def on_message(self, text: str) -> None:
        """Handle a status or warning message of one line."""


class NullCallback:
    """Callback that does nothing."""

    def on_report(self, report: Report) -> None:
        """Ignore the report."""

    def on_validation(self, validation: Validation) -> None:
        """Ignore the validation."""

    def on_message(self, text: str) -> None:
        """Ignore the message."""


class Log:
    """Writer of ``log.jsonl``: one JSON line per report and validation.

    Args:
        path: The file. Lines after ``step`` are removed, as those steps are repeated.
        step: Steps done.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        self._path = path
        if path.is_file():
            kept = [line for line in read_log(path) if line["step"] <= step]
            with atomic_path(path) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def write(self, kind: str, content: Report | Validation) -> None:
        """Append a line."""
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **asdict(content)}) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a log, skipping incomplete lines."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


class TensorBoard:
    """Callback that writes TensorBoard event files.

    Args:
        folder: Folder of the event files.

    Raises:
        TrainingError: If TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise TrainingError("tensorboard is not installed: pip install 'lamnet[tensorboard]'") from None
        self._writer_class, self._folder = SummaryWriter, str(folder)

    @cached_property
    def _writer(self) -> SummaryWriter:
        return self._writer_class(self._folder)  # on first use, as it creates the folder at once

    def on_report(self, report: Report) -> None:
        """Write loss, learning rate, LR pixels and speed."""
        for name in ("loss", "lr", "images_per_second", "pixels", "pixels_per_second"):
            self._writer.add_scalar(f"training/{name}", getattr(report, name), report.step)
        self._writer.flush()

    def on_validation(self, validation: Validation) -> None:
        """Write PSNR and SSIM."""
        for name in ("psnr", "ssim"):
            self._writer.add_scalar(f"validation/{name}", getattr(validation, name), validation.step)
        self._writer.flush()

    def on_message(self, text: str) -> None:
        """Ignore the message."""


# Training curves of one or several runs


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
            marker = "o" if len(points) == 1 else ""  # one point has no line
            coordinates = zip(*points, strict=True) if points else ((), ())
            axes.plot(*coordinates, marker=marker, label=Path(name).name, linewidth=1.5)
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
