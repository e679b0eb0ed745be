"""``lamnet release``: release the weights of a run with a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Data


def release(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run.")],
    tag: Annotated[str, typer.Option(help="Tag of these weights: letters, digits and _.")],
    about_data: Annotated[
        str, typer.Option("--about-data", help="Description and terms of use of the training data, for the card.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path("."),
    data: Data = None,
) -> None:
    """Write release weights and a model card.

    The weights are the best of the run; their scores are measured for the card.

    Example: lamnet release runs/first --tag photos_v1 --about-data "290 photographs, CC0"
    """
    if not tag.replace("_", "").isalnum():
        raise typer.BadParameter(f"--tag must consist of letters, digits and _, got {tag!r}")
    if output.is_file():
        raise typer.BadParameter(f"--output must be a folder, got the file {output}")
    from lamnet_models.training.release import release as write

    result = write(run, tag, output, about_data=about_data, data_dir=data)
    for score in result.scores:
        print(score.summary())
    print(f"{result.weights} ({'half' if result.half else 'single'} precision), {result.card}")
