"""``lamnet compare``: models on one dataset, as a table and an image of details."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    BorderRule,
    Channel,
    ChannelName,
    Data,
    Degrade,
    Device,
    DeviceName,
    Json,
    Limit,
    LRBorder,
    Overwrite,
    Precision,
    PrecisionName,
    Protocol,
    ProtocolName,
    Scale,
    Tile,
    check_models,
    check_picture,
    parse_tile,
)
from .output import print_error, print_json, print_table, progress_bar


def parse_detail(text: str) -> tuple[str, tuple[int, int, int, int]]:
    """Parse ``--detail`` to the image name and left, top, width and height in pixels."""
    match = re.fullmatch(r"(.+):(\d+),(\d+),(\d+),(\d+)", text)
    if not match or "0" in match.groups()[3:]:
        raise typer.BadParameter(f"--detail must be IMAGE:LEFT,TOP,WIDTH,HEIGHT in pixels, got {text!r}")
    return match[1], tuple(int(number) for number in match.groups()[1:])


def compare(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL", help="Model names, checkpoint files, bicubic or lanczos.")
    ],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="Dataset (set5, urban100 …) or folder.")] = "set5",
    scale: Scale = None,
    data: Data = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Image file to write.")] = Path("lamnet_compare.png"),
    detail: Annotated[
        list[str] | None,
        typer.Option(
            help="Detail to show, IMAGE:LEFT,TOP,WIDTH,HEIGHT; repeatable.",
            show_default="where the models differ most",
        ),
    ] = None,
    details: Annotated[int, typer.Option(min=0, help="Number of details to select; 0: write no image.")] = 3,
    side: Annotated[int, typer.Option(min=16, help="Width and height of selected details in pixels.")] = 64,
    limit: Limit = None,
    protocol: Protocol = ProtocolName.standard,
    channel: Channel = ChannelName.y,
    lr_border: LRBorder = BorderRule.mirror,
    degrade: Degrade = "",
    tile: Tile = "0",
    device: Device = DeviceName.auto,
    precision: Precision = PrecisionName.fp32,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Compare models on one dataset.

    Scores are printed as a table, and details are written to an image with the PSNR of each model.

    Example: lamnet compare bicubic lamnet_x4 other.pth -d set14 -o compared.png
    """
    boxes = [parse_detail(text) for text in detail or []]
    sides = parse_tile(tile)
    draws = bool(boxes) or details > 0
    from lamnet_models.names import INTERPOLATIONS

    check_models(*models, baselines=INTERPOLATIONS)
    if draws:
        check_picture(output, overwrite)
    from lamnet_models import evaluation
    from lamnet_models.errors import quantity
    from lamnet_models.evaluation.compare import Detail
    from lamnet_models.image_io import write_image
    from lamnet_models.image_io.grids import Box

    with progress_bar() as progress:
        tasks = {}

        def show(image: evaluation.ImageResult) -> None:
            if image.model not in tasks:
                tasks[image.model] = progress.add_task(image.model, total=image.total)
            progress.update(tasks[image.model], completed=image.done)

        try:
            result = evaluation.compare(
                models,
                dataset,
                scale,
                data,
                details=[Detail(name, Box(*box)) for name, box in boxes] or details,
                side=side,
                limit=limit,
                protocol=protocol.value,
                channel=channel.value,
                lr_border=lr_border.value,
                degrade=degrade,
                tile=sides,
                device=device.value,
                precision=precision.value,
                on_image=show,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    if result.picture:
        write_image(output, result.picture)
    first = result.evaluations[0]
    for line in first.skipped:
        print_error(line)
    if as_json:
        print_json(
            {
                "evaluations": [evaluation.to_dict() for evaluation in result.evaluations],
                "details": [{"image": d.image, "box": vars(d.box)} for d in result.details],
                "file": str(output) if result.picture else None,
            }
        )
    else:
        print_table(
            ["", "PSNR", "SSIM", "seconds"],
            [[e.model, f"{e.psnr:.2f} dB", f"{e.ssim:.4f}", f"{e.forward_seconds:.2f}"] for e in result.evaluations],
            numeric=("PSNR", "SSIM", "seconds"),
        )
        print(f"{first.dataset} ×{first.scale}, {quantity(len(first.images), 'image')}; {first.measured}; {first.lr}")
        if result.picture:
            print(f"details in {output}")
    if first.skipped:
        raise typer.Exit(1)
