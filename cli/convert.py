"""``lamnet convert``: checkpoints from one format to the other."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from .options import Overwrite
from .output import check_output


class Format(str, Enum):
    """Formats of checkpoints."""

    lamnet = "lamnet"
    released = "released"

    @classmethod
    def of(cls, path: Path) -> Format:
        """Returns the format that a file's extension stands for."""
        return cls.released if path.suffix in (".pth", ".pt") else cls.lamnet


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A checkpoint, ours or in the released format.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    to: Annotated[
        Format | None,
        typer.Option(help="Format to write. [default: released for .pth and .pt, otherwise lamnet: safetensors]"),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Converts a checkpoint: released pickles to safetensors that rebuild the model, or back.

    Example: lamnet convert LAMNet_x4.pth lamnet_x4.safetensors
    """
    check_output(output, overwrite)
    to = to or Format.of(output)
    from lamnet_models import save_checkpoint
    from lamnet_models.checkpoint import read_checkpoint

    checkpoint = read_checkpoint(source)
    save_checkpoint(checkpoint.build(), output, training=checkpoint.training, format=to.value)
    print(f"{source} ({checkpoint.format}) → {output} ({to.value})")
