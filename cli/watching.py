"""Progress display of a training run: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lamnet_models.training.callbacks import Report, TrainingCallback, Validation

from .output import print_note


@contextmanager
def watch(folder: Path, tensorboard: bool) -> Iterator[TrainingCallback]:
    """Yield a callback that shows a run on standard error.

    Args:
        folder: Folder of the run.
        tensorboard: Whether to also write TensorBoard logs to ``folder/tensorboard``.
    """
    console = Console(stderr=True)
    callbacks: list[TrainingCallback] = []
    if tensorboard:
        from lamnet_models.training.callbacks import TensorBoard

        callbacks.append(TensorBoard(folder / "tensorboard"))
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            yield _CallbackList([_LiveProgress(folder, live), *callbacks])
    else:
        yield _CallbackList([_PlainProgress(), *callbacks])


class _CallbackList:
    """Callback that calls several callbacks."""

    def __init__(self, callbacks: list[TrainingCallback]) -> None:
        self._callbacks = callbacks

    def on_report(self, report: Report) -> None:
        for callback in self._callbacks:
            callback.on_report(report)

    def on_validation(self, validation: Validation) -> None:
        for callback in self._callbacks:
            callback.on_validation(validation)

    def on_message(self, text: str) -> None:
        for callback in self._callbacks:
            callback.on_message(text)


class _PlainProgress:
    """Callback that prints one line per event."""

    def on_report(self, report: Report) -> None:
        print_note(
            f"step {report.step}  loss {report.loss:.5f}  lr {report.lr:.2e}  {_format_count(report.pixels)} pixels  "
            f"{_format_count(report.pixels_per_second)} pixels/s  {100 * report.progress:.1f}%  "
            f"{_format_time(report.seconds_left)} left"
        )

    def on_validation(self, validation: Validation) -> None:
        print_note(_format_validation(validation))

    def on_message(self, text: str) -> None:
        print_note(text)


class _LiveProgress:
    """Callback that shows a live table, with messages above it."""

    def __init__(self, folder: Path, live: Live) -> None:
        self._folder, self._live = folder, live
        self._report: Report | None = None
        self._validation: Validation | None = None
        self._begin = time.monotonic()
        self._show()

    def on_report(self, report: Report) -> None:
        self._report = report
        self._show()

    def on_validation(self, validation: Validation) -> None:
        self._validation = validation
        self._live.console.print(Text(_format_validation(validation)))
        self._show()

    def on_message(self, text: str) -> None:
        self._live.console.print(Text(text))

    def _show(self) -> None:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        report, validation = self._report, self._validation
        if report is None:
            table.add_row("run", str(self._folder))
            table.add_row("", "waiting for the first report")
            self._live.update(table)
            return
        table.add_row("run", str(self._folder), "step", f"{report.step}")
        table.add_row("loss", f"{report.loss:.5f}", "lr", f"{report.lr:.2e}")
        table.add_row(
            "pixels", _format_count(report.pixels), "speed", f"{_format_count(report.pixels_per_second)} pixels/s"
        )
        table.add_row("left", _format_time(report.seconds_left))
        if validation:
            table.add_row("PSNR", f"{validation.psnr:.2f} dB", "SSIM", f"{validation.ssim:.4f}")
        bar = ProgressBar(total=1.0, completed=min(report.progress, 1.0), width=40)
        self._live.update(Group(table, bar))


def _format_validation(validation: Validation) -> str:
    best = ", new best" if validation.best else ""
    return (
        f"step {validation.step}  {validation.psnr:.2f} dB, {validation.ssim:.4f} on {validation.dataset}"
        f"{best}  (after {_format_time(validation.seconds)})"
    )


def _format_count(pixels: float) -> str:
    """Format a number of LR pixels with its unit: 12.3M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if pixels >= size:
            return f"{pixels / size:.1f}{unit}"
    return f"{pixels:.0f}"


def _format_time(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
