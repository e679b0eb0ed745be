"""``lamnet eval``: PSNR and SSIM on benchmark datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .data import fetch_with_progress
from .options import (
    Border,
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
    Precision,
    PrecisionName,
    Protocol,
    ProtocolName,
    Scale,
    SelfEnsemble,
    Tile,
    check_models,
    parse_tile,
)
from .output import print_csv, print_error, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from lamnet_models.evaluation import Evaluation


def evaluate(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Model name, checkpoint file, bicubic or lanczos.",
            show_default="lamnet_x4, or by --scale",
        ),
    ] = None,
    dataset: Annotated[
        str,
        typer.Option("--dataset", "-d", help="Comma-separated datasets (set5, urban100, sample …) or folders."),
    ] = "set5",
    scale: Scale = None,
    data: Data = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Download missing datasets.")] = False,
    per_image: Annotated[bool, typer.Option("--per-image", help="Also print the scores of each image.")] = False,
    limit: Limit = None,
    protocol: Protocol = ProtocolName.standard,
    border: Border = None,
    channel: Channel = ChannelName.y,
    lr_border: LRBorder = BorderRule.mirror,
    degrade: Degrade = "",
    self_ensemble: SelfEnsemble = False,
    tile: Tile = "0",
    device: Device = DeviceName.auto,
    precision: Precision = PrecisionName.fp32,
    save_images: Annotated[
        Path | None,
        typer.Option(
            "--save-images", help="Folder for the SR images, and for worst.png: details of those with the lowest PSNR."
        ),
    ] = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the scores of each image as CSV.")] = False,
) -> None:
    """Measure PSNR and SSIM on datasets.

    For each dataset, the mean, the protocol and the paper's values are printed.

    Unreadable images are reported in one line each and skipped; the exit code is then 1.

    Example: lamnet eval --dataset set5,urban100 --fetch
    """
    sides = parse_tile(tile)
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv are mutually exclusive")
    if save_images and save_images.exists() and not save_images.is_dir():
        raise typer.BadParameter(f"--save-images must be a folder, got the file {save_images}")
    from lamnet_models.names import INTERPOLATIONS

    check_models(model, baselines=INTERPOLATIONS)
    from lamnet_models import evaluation
    from lamnet_models.data import open_dataset
    from lamnet_models.degradation import parse_degradations
    from lamnet_models.evaluation.evaluate import ImageSaver
    from lamnet_models.evaluation.predictors import open_predictor

    names = [name for name in dataset.split(",") if name]
    if not names:
        raise typer.BadParameter("--dataset must name a dataset, such as set5, got an empty list")
    try:
        parse_degradations(degrade)
        predictor = open_predictor(
            model,
            scale,
            tile=sides,
            device=device.value,
            precision=precision.value,
            self_ensemble=self_ensemble,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if fetch:
        for name in names:
            fetch_with_progress(name, data)
    datasets = [open_dataset(name, predictor.scale, data, lr_border.value, degrade).head(limit) for name in names]
    results = []
    with progress_bar() as progress:
        for images in datasets:
            saver = ImageSaver(save_images, images, predictor.name) if save_images else None
            task = progress.add_task(images.name, total=len(images.pairs))
            total = {"psnr": 0.0, "count": 0}

            def show(output: evaluation.ImageResult, saver=saver, task=task, total=total, images=images) -> None:
                total["psnr"] += output.score.psnr
                total["count"] += 1
                mean = f"{images.name}  {total['psnr'] / total['count']:.2f} dB"
                progress.update(task, completed=output.done, description=mean)
                if saver:
                    saver.save(output)

            result = evaluation.evaluate(
                predictor,
                images,
                border=border,
                protocol=protocol.value,
                channel=channel.value,
                on_image=show,
            )
            progress.remove_task(task)
            results.append(result)
            for line in result.skipped:
                print_error(line)
            if saver:
                saver.save_worst()
            if not as_json and not as_csv:
                if per_image:
                    _print_images(result)
                print(result.summary(), flush=True)
    if as_json:
        print_json([result.to_dict() for result in results])
    if as_csv:
        print_csv(
            ["model", "dataset", "scale", "image", "psnr", "ssim", "width", "height"],
            [
                [result.model, result.dataset, result.scale, score.name, score.psnr, score.ssim, *score.size]
                for result in results
                for score in result.images
            ],
        )
    if any(result.skipped for result in results):
        raise typer.Exit(1)


def _print_images(result: Evaluation) -> None:
    print_table(
        ["image", "size", "PSNR", "SSIM"],
        [
            [score.name, f"{score.size[0]}×{score.size[1]}", f"{score.psnr:.2f}", f"{score.ssim:.4f}"]
            for score in result.images
        ],
        numeric=("size", "PSNR", "SSIM"),
    )
