"""What a run tells those who watch it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ..files import atomic_path


@dataclass(frozen=True)
class Report:
    """How a run stands.

    Attributes:
        step: Steps done.
        loss: Mean loss since the last report.
        lr: Learning rate.
        seconds: Time the run has taken, all its parts together.
        images_per_second: Large patches a second since the last report.
        progress: Fraction of the budget used, from 0 to 1.
        pixels: LR pixels seen since the start of the run.
        pixels_per_second: LR pixels per second since the last report.
        seconds_left: Estimated time to the end of the budget.
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
    """What a validation found.

    Attributes:
        step: Steps done.
        psnr: Mean PSNR in dB on the luma.
        ssim: Mean SSIM on the luma.
        dataset: What was measured on.
        seconds: Time the run has taken.
        best: Whether no PSNR before was as high.
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
    """Somebody who watches a run."""

    def on_report(self, report: Report) -> None:
        """Takes how the run stands."""

    def on_validation(self, validation: Validation) -> None:
        """Takes what a validation found."""

    def on_message(self, text: str) -> None:
        """Takes a line for a person to read."""


class NullCallback:
    """A callback that looks away."""

    def on_report(self, report: Report) -> None:
        """Does nothing."""

    def on_validation(self, validation: Validation) -> None:
        """Does nothing."""

    def on_message(self, text: str) -> None:
        """Does nothing."""


class Log:
    """``log.jsonl``: one line of JSON for each report and validation.

    Args:
        path: The file. Lines beyond ``step`` are from a part of the run that is about to be done again, and removed.
        step: Steps done.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        self._path = path
        if path.is_file():
            kept = [line for line in read_log(path) if line["step"] <= step]
            with atomic_path(path) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def write(self, kind: str, content: Report | Validation) -> None:
        """Adds a line."""
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **asdict(content)}) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of a log, without one that was cut off while it was written."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines
