"""``lamnet train``: train a model."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from .output import print_note


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
        typer.Option("--init-from", help="Checkpoint or weights to initialize from; mismatched tensors stay random."),
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
    """Train a model by a recipe, or resume a run.

    SIGTERM and Ctrl+C save and stop (exit codes 143 and 130); SIGUSR1 saves and continues.

    Example: lamnet train budget minutes=60 --data DIV2K -o runs/first

    With two processes: lamnet train cpu minutes=60 --data photos -o runs/first --processes 2

    Decay branch of a run in progress: lamnet train --decay-from runs/first minutes=30 -o runs/first-30min
    """
    if "=" in recipe:  # settings without a recipe
        recipe, settings = "quick", [recipe, *(settings or [])]
    from lamnet_models.errors import TrainingError
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
        with _watch(folder, tensorboard) if is_main else nullcontext() as callback:
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
    best = "" if result.best is None else f", best {result.best:.2f} dB"
    print(f"{folder}: {result.step} steps in {result.seconds / 60:.1f} min{best}; weights in best.safetensors")


def _watch(folder: Path, tensorboard: bool):
    from .watching import watch

    return watch(folder, tensorboard)
