"""Options that several commands have."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class DeviceName(str, Enum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class PrecisionName(str, Enum):
    """Type to compute in."""

    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


class BorderRule(str, Enum):
    """What lies outside an image that is reduced."""

    mirror = "mirror"
    replicate = "replicate"


class ProtocolName(str, Enum):
    """How papers measure."""

    standard = "standard"
    lamnet = "lamnet"


class ChannelName(str, Enum):
    """What is compared."""

    y = "y"
    rgb = "rgb"


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Write over an existing file.")]
Device = Annotated[DeviceName, typer.Option(help="Where to compute.")]
Precision = Annotated[PrecisionName, typer.Option(help="Type to compute in.")]
Scale = Annotated[int | None, typer.Option("--scale", "-s", min=1, help="Factor of enlargement.")]
Tile = Annotated[
    str,
    typer.Option(
        "--tile",
        "-t",
        help="Side of the tiles in pixels; 0: the whole image; exact: tiles with its result; auto: as memory allows.",
    ),
]
Data = Annotated[
    Path | None, typer.Option("--data", help="Folder that holds the sets. [default: LAMNET_DATA, then the cache]")
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only so many images, the first ones.")]
Border = Annotated[
    int | None, typer.Option("--border", min=0, help="Pixels left out at each edge. [default: as the protocol]")
]
Protocol = Annotated[
    ProtocolName, typer.Option(help="standard: as many pixels of border as the scale; lamnet: 4 at each scale.")
]
Channel = Annotated[ChannelName, typer.Option(help="Compare the luma, as papers do, or all channels.")]
LRBorder = Annotated[BorderRule, typer.Option("--lr-border", help="Edge rule where reductions have to be made.")]
SelfEnsemble = Annotated[bool, typer.Option("--self-ensemble", help="Average over eight flips and rotations.")]


def parse_tile(text: str) -> int | str:
    """Returns what ``--tile`` means."""
    if text not in ("auto", "exact") and not text.isdecimal():
        raise typer.BadParameter(
            f"--tile is {text!r}, but it must be auto, exact, 0 for the whole image, or a number of pixels"
        )
    return int(text) if text.isdecimal() else text


def parse_choices(option: str, text: str, choices: tuple[str, ...]) -> list[str]:
    """Returns the values that an option lists, separated by commas.

    Args:
        option: Its name, for the error.
        text: What was given.
        choices: What it may hold.
    """
    values = list(dict.fromkeys(text.split(",")))
    for value in values:
        if value not in choices:
            raise typer.BadParameter(f"{option} is {value!r}, but it must be of {', '.join(choices)}")
    return values


def parse_size(option: str, text: str, form: str = "WIDTHxHEIGHT") -> tuple[int, int]:
    """Returns the two numbers of at least 1 that an option gives as ``1920x1080``.

    Args:
        option: Its name, for the error.
        text: What was given.
        form: What the numbers are, for the error.
    """
    numbers = text.lower().replace("×", "x").split("x")
    if len(numbers) != 2 or not all(number.isdecimal() and int(number) > 0 for number in numbers):
        raise typer.BadParameter(f"{option} is {text!r}, but it must be {form}, such as 64x48")
    return int(numbers[0]), int(numbers[1])
