"""``lamnet convert``: convert between checkpoint formats."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from .options import Overwrite
from .output import check_output


class Format(str, Enum):
    """Checkpoint format."""

    lamnet = "lamnet"
    original = "original"

    @classmethod
    def of(cls, path: Path) -> Format:
        """Return the format of a file by its extension."""
        formats = {".safetensors": cls.lamnet, ".pth": cls.original, ".pt": cls.original}
        if path.suffix not in formats:
            raise typer.BadParameter(f"output must end in {', '.join(formats)}, got {path}")
        return formats[path.suffix]


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Checkpoint file in either format.")],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="File to write: .safetensors, or .pth (original format).")
    ],
    to: Annotated[
        Format | None,
        typer.Option(
            help="Output format: lamnet (safetensors) or original (the .pth format of the authors).",
            show_default="by the extension",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Convert between checkpoint formats.

    The formats are safetensors and the original .pth format.

    Example: lamnet convert LAMNet_x4.pth lamnet_x4.safetensors
    """
    check_output(output, overwrite)
    by_extension = Format.of(output)
    to = to or by_extension
    from lamnet_models import save_checkpoint
    from lamnet_models.checkpoint import read_checkpoint

    checkpoint = read_checkpoint(source)
    save_checkpoint(checkpoint.build(), output, training=checkpoint.training, format=to.value)
    print(f"{source} ({checkpoint.format}) → {output} ({to.value})")
