"""``lamnet plot``: training curves."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from .options import Overwrite, check_chart


class Axis(str, Enum):
    """Horizontal axis."""

    step = "step"
    hours = "hours"
    pixels = "pixels"


def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of runs.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Image file to write: .png, .svg or .pdf.")] = Path(
        "training.png"
    ),
    over: Annotated[Axis, typer.Option(help="Horizontal axis: steps, hours or LR pixels seen.")] = Axis.step,
    overwrite: Overwrite = False,
) -> None:
    """Plot PSNR and loss of training runs.

    Example: lamnet plot runs/first runs/second --over pixels -o curves.png
    """
    check_chart("--output", output, overwrite)
    from lamnet_models.training.callbacks import plot as draw

    print(draw(runs, output, over.value))
