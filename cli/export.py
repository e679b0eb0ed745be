"""``lamnet export``: export a model for use without this package."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from .options import Json, Overwrite, check_models
from .output import check_output, print_json, print_table, spinner


class ExportFormat(str, Enum):
    """Export format."""

    onnx = "onnx"
    torch = "torch"
    aoti = "aoti"


class ExportDevice(str, Enum):
    """Device to compile for."""

    cpu = "cpu"
    cuda = "cuda"


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model name or checkpoint file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .onnx or .pt2.")],
    format: Annotated[
        ExportFormat | None,
        typer.Option(help="onnx, torch (torch.export) or aoti (AOTInductor).", show_default="by the extension"),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Export weights and images in float16.")] = False,
    device: Annotated[
        ExportDevice, typer.Option(help="Device that aoti compiles for; other formats run on any device.")
    ] = (ExportDevice.cpu),
    opset: Annotated[
        int | None, typer.Option(min=17, max=20, help="ONNX opset version, 17 to 20.", show_default="20")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Export a model to ONNX or torch.export.

    The exported model takes images of any size and is verified against PyTorch.

    A result that differs from PyTorch is discarded, and the exit code is 1.

    Example: lamnet export lamnet_x4 -o lamnet_x4.onnx
    """
    check_output(output, overwrite)
    check_models(model)
    from lamnet_models.exporting import TOLERANCES
    from lamnet_models.exporting import export as write

    with spinner() as on_status:
        try:
            result = write(
                model,
                output,
                format=format and format.value,
                half=half,
                device=device.value,
                opset=opset,
                on_status=on_status,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    differences = {"×".join(map(str, size)): value for size, value in result.differences.items()}
    size = output.stat().st_size
    if as_json:
        print_json(
            {"file": str(output), "format": result.format, "half": half, "bytes": size, "differences": differences}
            | {"difference": result.difference, "tolerance": TOLERANCES[half]}
        )
        return
    print_table(
        ["", ""],
        [
            ["written to", f"{output}, {result.format}, {'float16' if half else 'float32'}, {size / 1e6:.1f} MB"],
            *([f"difference at {name}", f"{value:.1e}"] for name, value in differences.items()),
            ["max difference", f"{result.difference:.1e} of the maximum value (tolerance {TOLERANCES[half]:.0e})"],
        ],
    )
