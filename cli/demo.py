"""``lamnet demo``: the first thing to try."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Json
from .output import print_json, print_table


def demo(
    photo: Annotated[
        str, typer.Argument(help="A sample (astronaut, chelsea, coffee, motorcycle) or an image file.")
    ] = "astronaut",
    model: Annotated[str, typer.Option("--model", "-n", help="Name of a model, or a checkpoint file.")] = "lamnet_x4",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Picture to write. [default: lamnet_demo_PHOTO.png]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Reduces a photograph, enlarges it again, and compares LAMNet with bicubic interpolation.

    Prints PSNR and SSIM, and writes a detail of all of them side by side.

    Example: lamnet demo coffee
    """
    output = output or Path(f"lamnet_demo_{Path(photo).stem}.png")
    from lamnet_models.demo import demo as run
    from lamnet_models.images import write_image

    result = run(photo, model)
    write_image(output, result.picture)
    if as_json:
        print_json(
            {"photo": photo, "scale": result.scale, "psnr": result.psnr, "ssim": result.ssim, "file": str(output)}
        )
        return
    print_table(
        ["", "PSNR", "SSIM"],
        [[method, f"{result.psnr[method]:.2f} dB", f"{result.ssim[method]:.4f}"] for method in result.psnr],
        numeric=("PSNR", "SSIM"),
    )
    print(f"{photo}, ×{result.scale}, on Y, {result.scale} pixels of border left out; side by side in {output}")
