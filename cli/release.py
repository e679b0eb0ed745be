"""``lamnet release``: weights to pass on, with a card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Data


def release(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    tag: Annotated[str, typer.Option(help="Name of these weights among those of the same model.")],
    about_data: Annotated[str, typer.Option("--about-data", help="What was trained on, and its terms, for the card.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path("."),
    data: Data = None,
) -> None:
    """Writes a run's best weights and a model card with their scores.

    Example: lamnet release runs/first --tag photos_v1 --about-data "290 photographs, CC0"
    """
    if not tag.replace("_", "").isalnum():
        raise typer.BadParameter(f"--tag is {tag!r}, but it must be of letters, digits and _")
    if not output.is_dir():
        raise typer.BadParameter(f"the folder {output} does not exist: make it first")
    from lamnet_models.training.release import release as write

    result = write(run, tag, output, about_data=about_data, data_dir=data)
    for score in result.scores:
        print(score.summary())
    print(f"{result.weights} ({'half' if result.half else 'single'} precision), {result.card}")
