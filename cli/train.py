"""``lamnet train``: train a model."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .allocator import configure_allocator
from .options import require_package
from .output import print_note

if TYPE_CHECKING:
    from lamnet_models.training.callbacks import Report, TrainingCallback, Validation


def train(
    context: typer.Context,
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="Recipe name (quick, cpu, budget, paper_x2, paper_x3 …) or YAML file."),
    ] = "quick",
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="FIELD=VALUE", help="Recipe fields to change, such as lr=5e-4.", show_default=False),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="Folder of images, or a dataset; repeatable.", show_default="that of the recipe"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the run.", show_default="runs/RECIPE")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in the output folder.")] = False,
    decay_from: Annotated[
        Path | None,
        typer.Option(
            "--decay-from",
            metavar="RUN",
            help="Start a new run (-o) from the newest state of RUN, which may be in progress, and decay the learning "
            "rate to zero over steps=N, minutes=N or pixels=N.",
        ),
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            "--init-from",
            help="Checkpoint file or model name to initialize from. Another number of image channels is adapted, "
            "additional blocks start as the identity, and other tensors whose shapes differ stay random.",
        ),
    ] = None,
    valid: Annotated[
        str | None, typer.Option("--valid", help="Dataset to validate on.", show_default="that of the recipe")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard logs to the run's folder.")
    ] = False,
    processes: Annotated[
        int,
        typer.Option(
            min=1, help="Number of processes on this machine; they share each batch and the CPU cores or GPUs."
        ),
    ] = 1,
) -> None:
    """Train a model with a recipe, or resume a run.

    SIGTERM and Ctrl+C save and stop (exit codes 143 and 130); SIGUSR1 saves and continues.

    Example: lamnet train budget minutes=60 --data DIV2K -o runs/first

    With two processes: lamnet train cpu minutes=60 --data photos -o runs/first --processes 2

    Decay branch of a run in progress: lamnet train --decay-from runs/first minutes=30 -o runs/first-30min
    """
    if "=" in recipe:  # settings without a recipe
        recipe, settings = "quick", [recipe, *(settings or [])]
    from lamnet_models.errors import TrainingError, quantity
    from lamnet_models.training.recipe import Recipe, load_recipe, parse_settings

    if decay_from is not None and output is None:
        raise typer.BadParameter("--decay-from requires a folder for the new run: add -o FOLDER")
    if decay_from is not None and recipe != "quick":
        raise typer.BadParameter(f"--decay-from uses the recipe of {decay_from}: remove the recipe {recipe}")
    try:
        overrides = parse_settings(settings or [])
        if decay_from is not None:
            Recipe(steps=1, schedule="wsd").with_overrides(overrides)
        elif not resume:
            load_recipe(recipe).with_overrides(overrides)
    except TrainingError as error:
        raise typer.BadParameter(str(error)) from None
    require_package("accelerate", "train")
    configure_allocator(keep_all=True)
    from lamnet_models.training.processes import ProcessLostError, join_processes, launched_processes

    from . import launching

    if launching.is_worker():
        launching.exit_with_launcher()
    elif processes > 1:
        if (launched := launched_processes()) > 1:
            raise typer.BadParameter(f"--processes must be 1 under a launcher of {launched} processes, got {processes}")
        raise typer.Exit(launching.launch(context.obj, processes))
    overrides |= {key: value for key, value in (("init_from", init_from), ("valid", valid)) if value is not None}
    if data:
        overrides["data"] = data
    folder = output or Path("runs") / Path(recipe).stem
    from lamnet_models.training import train as run

    is_main = join_processes().is_main_process
    try:
        with watch_run(folder, tensorboard) if is_main else nullcontext() as callback:
            result = run(recipe, folder, resume=resume, callback=callback, decay_from=decay_from, **overrides)
    except ProcessLostError:
        if launching.is_worker():
            raise typer.Exit(launching.PEER_LOST) from None  # the launcher prints the cause
        raise
    if not is_main:
        raise typer.Exit(128 + result.stopped_by if result.stopped_by else 0)
    if result.stopped_by:
        print_note(f"stopped at step {result.step}, state saved; resume with: lamnet train --resume -o {folder}")
        raise typer.Exit(128 + result.stopped_by)
    best, weights = ("", "last") if result.best is None else (f", best {result.best:.2f} dB", "best")
    steps = quantity(result.step, "step")
    print(f"{folder}: {steps} in {result.seconds / 60:.1f} min{best}; weights in {weights}.safetensors")


# Progress display: a live table in a terminal, plain lines elsewhere


@contextmanager
def watch_run(folder: Path, tensorboard: bool) -> Iterator[TrainingCallback]:
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
            table.add_row("", "waiting for the first step")
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
