"""Training events, callbacks and the log."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import TrainingError
from ..files import atomic_path

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
