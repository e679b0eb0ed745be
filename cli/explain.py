"""``lamnet explain``: local attribution map and effective receptive field."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from .options import Json, Overwrite, check_chart, check_models
from .output import print_json, print_note, print_table, spinner


def explain(
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE", help="Image file, or sample photograph (astronaut, chelsea, coffee, motorcycle)."
        ),
    ] = "astronaut",
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-n", help="Name of a model or baseline, or checkpoint; repeatable.", show_default="lamnet_x4"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Image file to write: .png, .svg or .pdf.", show_default="lamnet_explain_IMAGE.png"
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="X,Y", help="Pixel of the image to explain.", show_default="the finest structure"),
    ] = None,
    side: Annotated[int, typer.Option(min=16, help="Side of the input crop in pixels.")] = 64,
    patch: Annotated[int, typer.Option(min=2, help="Side of the output patch in pixels.")] = 16,
    steps: Annotated[int, typer.Option(min=1, help="Number of points of the path integral of gradients.")] = 20,
    samples: Annotated[int, typer.Option(min=1, help="Number of image crops to average the receptive field over.")] = 4,
    as_input: Annotated[
        bool, typer.Option("--as-input", help="Use the image itself as the input, not its downscaled copy.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Plot attribution and receptive field.

    The local attribution map shows the contribution of each input pixel to a patch of the output.
    Its diffusion index is high if many pixels contribute.
    The effective receptive field is shown with the squares that contain 50, 90 and 99% of it.

    Example: lamnet explain photo.jpg -n lamnet_x4 -n swinir.pth -o explained.png
    """
    output = output or Path(f"lamnet_explain_{Path(image).stem}.png")
    check_chart("--output", output, overwrite)
    if at and not re.fullmatch(r"\d+,\d+", at):
        raise typer.BadParameter(f"--at must be X,Y in pixels, such as 120,80, got {at!r}")
    from lamnet_models.names import BASELINES

    check_models(*(models or []), baselines=BASELINES)
    from lamnet_models.paper import explain as run

    with spinner() as on_status:
        try:
            result = run(
                image,
                models or ["lamnet_x4"],
                side=side,
                at=tuple(int(number) for number in at.split(",")) if at else None,
                downscale=not as_input,
                patch=patch,
                steps=steps,
                samples=samples,
                on_status=on_status,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    result.draw(output)
    for network in result.networks:
        if not network.trained:
            print_note(f"{network.model} has random weights: pass a checkpoint file to explain trained weights")
    results = [network.to_dict() for network in result.networks]
    if as_json:
        print_json({"image": image, "networks": results, "file": str(output)})
        return
    extents = list(results[0]["receptive_field_extent"])
    columns = ["", "diffusion index", *(f"field, {share}" for share in extents)]
    rows = [
        [row["model"], f"{row['diffusion_index']:.2f}", *(f"{row['receptive_field_extent'][e]} px" for e in extents)]
        for row in results
    ]
    print_table(columns, rows, numeric=tuple(columns[1:]))
    print(f"{image}; maps in {output}")
