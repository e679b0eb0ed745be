"""``lamnet demo``: quality on one image, compared with bicubic interpolation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Json, Overwrite, check_models, check_picture
from .output import print_json, print_table


def demo(
    photo: Annotated[
        str,
        typer.Argument(
            metavar="PHOTO", help="Sample photograph (astronaut, chelsea, coffee, motorcycle) or image file."
        ),
    ] = "astronaut",
    model: Annotated[str, typer.Option("--model", "-n", help="Model name or checkpoint file.")] = "lamnet_x4",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Image file to write.", show_default="lamnet_demo_PHOTO.png")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Compare LAMNet with bicubic on a photo.

    The photo is downscaled and upscaled again.
    PSNR and SSIM are printed, and a detail of each result is written to an image.

    Example: lamnet demo coffee
    """
    output = output or Path(f"lamnet_demo_{Path(photo).stem}.png")
    check_models(model)
    check_picture(output, overwrite)
    from lamnet_models.evaluation.compare import demo as run
    from lamnet_models.image_io import write_image

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
    print(f"{photo}, ×{result.scale}, on Y, border of {result.scale} pixels cropped; comparison in {output}")
