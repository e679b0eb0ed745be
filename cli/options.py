"""Options shared by several commands."""

from __future__ import annotations

from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from .output import check_output, print_error


class DeviceName(str, Enum):
    """Device to run on."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class PrecisionName(str, Enum):
    """Floating-point precision."""

    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


class WeightsName(str, Enum):
    """Purpose of weights, as in names.PURPOSES."""

    clean = "clean"
    photo = "photo"


class BorderRule(str, Enum):
    """Edge rule of downscaling."""

    mirror = "mirror"
    replicate = "replicate"


class ProtocolName(str, Enum):
    """Evaluation protocol."""

    standard = "standard"
    lamnet = "lamnet"


class ChannelName(str, Enum):
    """Channels to compare."""

    y = "y"
    rgb = "rgb"


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Overwrite existing files.")]
Device = Annotated[DeviceName, typer.Option(help="Device to run on.")]
Precision = Annotated[PrecisionName, typer.Option(help="Floating-point precision.")]
Scale = Annotated[
    int | None, typer.Option("--scale", "-s", min=1, help="Upscaling factor.", show_default="that of the model")
]
Tile = Annotated[
    str,
    typer.Option(
        "--tile",
        "-t",
        help="Tile size in pixels; 0: no tiling; exact: tiles with the result of 0; auto: tiles if memory is short.",
    ),
]
Data = Annotated[
    Path | None, typer.Option("--data", help="Folder of the datasets.", show_default="$LAMNET_DATA, or the user cache")
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Use only the first N images.")]
Border = Annotated[
    int | None,
    typer.Option("--border", min=0, help="Pixels to crop at each edge.", show_default="set by --protocol"),
]
Protocol = Annotated[
    ProtocolName, typer.Option(help="Crop a border of SCALE pixels (standard) or of 4 pixels (lamnet).")
]
Channel = Annotated[ChannelName, typer.Option(help="Compare luma, as papers do, or RGB.")]
LRBorder = Annotated[
    BorderRule, typer.Option("--lr-border", help="Edge pixels of LR images made from HR: mirrored, or replicated.")
]
Degrade = Annotated[
    str,
    typer.Option(
        metavar="LIST",
        help="Degrade the LR images, such as noise=10,jpeg=75: blur=SIGMA, noise=SIGMA, jpeg=QUALITY, webp=QUALITY.",
        show_default="none",
    ),
]
SelfEnsemble = Annotated[
    bool, typer.Option("--self-ensemble", help="Average the outputs over eight flips and rotations.")
]


def check_models(*models: str | None, baselines: tuple[str, ...] = ()) -> None:
    """Raise ModelError for an unknown model name, before torch is imported.

    Args:
        *models: Model names, checkpoint files or timm sources; None is skipped.
        baselines: Further valid names.
    """
    from lamnet_models.names import is_checkpoint_path, split_name

    for model in models:
        if model is not None and model not in baselines and ":" not in model and not is_checkpoint_path(model):
            split_name(model, baselines)


def check_weights(model: str | None, weights: WeightsName | None, strength: float | None) -> None:
    """Check ``--weights`` and ``--strength`` before torch is imported.

    Args:
        model: Value of ``--model``.
        weights: Value of ``--weights``.
        strength: Value of ``--strength``.
    """
    from lamnet_models import names

    try:
        purpose, _ = names.check_weights(model, weights and weights.value, strength)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if model and purpose:
        names.split_name(f"{model}.{purpose}")


def parse_tile(text: str) -> int | str:
    """Parse the value of ``--tile``."""
    if text not in ("auto", "exact") and not text.isdecimal():
        raise typer.BadParameter(f"--tile must be auto, exact, 0 (no tiling) or a size in pixels, got {text!r}")
    return int(text) if text.isdecimal() else text


def parse_choices(option: str, text: str, choices: tuple[str, ...]) -> list[str]:
    """Parse a comma-separated list of choices.

    Args:
        option: Name of the option, for the error.
        text: Value of the option.
        choices: Valid choices.
    """
    values = list(dict.fromkeys(text.split(",")))
    for value in values:
        if value not in choices:
            raise typer.BadParameter(f"{option} must be one or more of {', '.join(choices)}, got {value!r}")
    return values


def parse_size(option: str, text: str, form: str = "WIDTHxHEIGHT") -> tuple[int, int]:
    """Parse two positive integers such as ``1920x1080``.

    Args:
        option: Name of the option, for the error.
        text: Value of the option.
        form: Description of the format, for the error.
    """
    numbers = text.lower().replace("×", "x").split("x")
    if len(numbers) != 2 or not all(number.isdecimal() and int(number) > 0 for number in numbers):
        raise typer.BadParameter(f"{option} must be {form}, such as 64x48, got {text!r}")
    return int(numbers[0]), int(numbers[1])


def require_package(name: str, extra: str) -> None:
    """Exit with an error unless the package of an extra is installed."""
    if find_spec(name) is None:
        print_error(f"this command needs {name}, which is not installed: pip install 'lamnet[{extra}]'")
        raise typer.Exit(1)


def check_picture(path: Path, overwrite: bool) -> None:
    """Check that an image file can be written."""
    check_output(path, overwrite)
    from lamnet_models.image_io.formats import WRITABLE

    if path.suffix.lower() not in WRITABLE:
        raise typer.BadParameter(f"--output must end in one of {', '.join(WRITABLE)}, got {path}")


def check_chart(option: str, path: Path, overwrite: bool) -> None:
    """Check that a chart can be written, and that matplotlib is installed."""
    check_output(path, overwrite)
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise typer.BadParameter(f"{option} must end in .png, .svg or .pdf, got {path}")
    require_package("matplotlib", "plot")
