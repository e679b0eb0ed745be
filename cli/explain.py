"""``lamnet explain``: what a network's output depends on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from .options import Json, Overwrite
from .output import check_output, print_json, print_note, print_table
from .progress import spinner


def explain(
    image: Annotated[
        str,
        typer.Argument(metavar="IMAGE", help="An image file, or a sample (astronaut, chelsea, coffee, motorcycle)."),
    ] = "astronaut",
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-n", help="Name of a model or peer, or a checkpoint; may be given again. [default: lamnet_x4]"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Picture: .png, .svg or .pdf. [default: lamnet_explain_IMAGE.png]"),
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="X,Y", help="Pixel of the image to look at. [default: the finest structure]")
    ] = None,
    side: Annotated[int, typer.Option(min=16, help="Side in pixels of the part that the network is given.")] = 64,
    patch: Annotated[int, typer.Option(min=2, help="Side in pixels of the patch of the output.")] = 16,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the integrated gradients.")] = 20,
    samples: Annotated[int, typer.Option(min=1, help="Parts of the image to average the receptive field over.")] = 4,
    as_input: Annotated[
        bool, typer.Option("--as-input", help="Enlarge the image as it is, instead of its reduction.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Shows what a network's output depends on: a local attribution map and the effective receptive field.

    The map says which input pixels a patch of the output is made from.
    Its diffusion index is high where many take part.
    The receptive field comes with the squares that hold 50, 90 and 99% of it.

    Example: lamnet explain photo.jpg -n lamnet_x4 -n swinir.pth -o explained.png
    """
    output = output or Path(f"lamnet_explain_{Path(image).stem}.png")
    check_output(output, overwrite)
    if output.suffix not in (".png", ".svg", ".pdf"):
        raise typer.BadParameter(f"{output} must end in .png, .svg or .pdf")
    if at and not re.fullmatch(r"\d+,\d+", at):
        raise typer.BadParameter(f"--at is {at!r}, but it must be X,Y in pixels, such as 120,80")
    from lamnet_models.explanation import explain as run

    with spinner() as say:
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
                on_status=say,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    result.draw(output)
    for network in result.networks:
        if not network.trained:
            print_note(f"{network.model} has random weights: name a file of trained ones to see what it has learnt")
    facts = [network.to_dict() for network in result.networks]
    if as_json:
        print_json({"image": image, "networks": facts, "file": str(output)})
        return
    extents = list(facts[0]["receptive_field_extent"])
    columns = ["", "diffusion index", *(f"field, {share}" for share in extents)]
    rows = [
        [fact["model"], f"{fact['diffusion_index']:.2f}", *(f"{fact['receptive_field_extent'][e]} px" for e in extents)]
        for fact in facts
    ]
    print_table(columns, rows, numeric=tuple(columns[1:]))
    print(f"{image}; maps in {output}")
