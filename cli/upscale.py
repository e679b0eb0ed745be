"""``lamnet upscale``: the main job."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Device, DeviceName, Json, Overwrite, Precision, PrecisionName, Tile, parse_size, parse_tile
from .output import check_output, print_error, print_json, print_note
from .progress import JobBars
from .stopping import sigterm_as_interrupt

if TYPE_CHECKING:
    from lamnet_models.upscaling.plan import Job
    from lamnet_models.upscaling.steps import Result


class Backend(str, Enum):
    """What runs a model."""

    torch = "torch"
    onnxruntime = "onnxruntime"


class Metadata(str, Enum):
    """What becomes of EXIF data and XMP."""

    keep = "keep"
    strip = "strip"


def upscale(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Images, folders of them, or patterns; - is raw video on standard input."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder, or for one image a file. [default: beside the image]")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-n", help="Name of a model, a checkpoint, or a file.onnx. [default: lamnet_x4, or by --scale]"
        ),
    ] = None,
    scale: Annotated[
        float | None, typer.Option("--scale", "-s", min=1, help="Factor of enlargement, such as 2, 4 or 2.5.")
    ] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Enlarge to a width in pixels.")] = None,
    height: Annotated[int | None, typer.Option(min=1, help="To a height; with --width, to fit into both.")] = None,
    tile: Tile = "auto",
    tile_pad: Annotated[int, typer.Option(min=0, help="Pixels around a tile that are run with it.")] = 32,
    suffix: Annotated[str | None, typer.Option(help="Put behind the name. [default: _x4 and so on]")] = None,
    ext: Annotated[
        str, typer.Option(help="Format: png, jpg, webp, tiff, bmp, avif, heic; auto: the image's own.")
    ] = "auto",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG, WebP, AVIF and HEIC.")] = 95,
    metadata: Annotated[
        Metadata, typer.Option(help="EXIF data and XMP: keep them, or strip results of them.")
    ] = Metadata.keep,
    frames: Annotated[
        bool, typer.Option("--frames", help="Enlarge animations, and TIFF files of several pages, frame by frame.")
    ] = False,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Most pixels that an image may claim to have. [default: 178,956,970]")
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive/--no-recursive", "-r", help="Whether to take folders within folders too.")
    ] = True,
    overwrite: Overwrite = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out what has its result already: go on after a stop.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would become what.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write a line of JSON for each image into a file as soon as it is done.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Of the frames of raw video on standard input, as WIDTHxHEIGHT.")
    ] = None,
    device: Device = DeviceName.auto,
    precision: Precision = PrecisionName.auto,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the network first: half a minute, then faster.")
    ] = False,
    backend: Annotated[
        Backend, typer.Option(help="What runs the model; onnxruntime needs the extra onnx, and runs on the CPU.")
    ] = Backend.torch,
    max_memory: Annotated[
        str | None, typer.Option(help="Most memory to take, such as 4G or 512M. [default: what is free]")
    ] = None,
    fp32: Annotated[bool, typer.Option("--fp32", help="Short for --precision fp32.")] = False,
    as_json: Json = False,
) -> None:
    """Enlarges images.

    Keeps 16 bits, transparency, colour profile, resolution and metadata; turns photographs upright.

    What cannot be read gets one line; the rest is done, and the exit code is 1.

    Example: lamnet upscale photo.jpg scans/ -o enlarged --ext png

    Video: ffmpeg -i a.mp4 -f rawvideo -pix_fmt rgb24 - | lamnet upscale - --size 640x360 -s 2 -o - | ffmpeg …
    """
    sides = parse_tile(tile)
    if overwrite and skip_existing:
        raise typer.BadParameter("--overwrite and --skip-existing contradict each other: give one of them")
    is_raw = "-" in inputs
    if is_raw != (size is not None) or (is_raw and len(inputs) > 1):
        raise typer.BadParameter("raw video is read with the one input - and --size, such as --size 640x360")
    if report:
        check_output(report, overwrite=True)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # remarks on oddities in files, which Pillow has got over
    from lamnet_models import ImageError
    from lamnet_models.upscaling.files import run_jobs
    from lamnet_models.upscaling.plan import plan_jobs
    from lamnet_models.upscaling.sizing import Size
    from lamnet_models.upscaling.steps import Options
    from lamnet_models.upscaling.upscalers import Upscalers, scale_of

    try:
        wanted = Size(scale, width, height)
        if dry_run:
            default = scale_of(model)
        else:
            upscalers = Upscalers(
                model,
                wanted,
                tile=sides,
                tile_pad=tile_pad,
                device=device.value,
                precision="fp32" if fp32 else precision.value,
                backend=backend.value,
                max_memory=max_memory,
                compile=compile,
            )
            default = upscalers.first.scale
        jobs: list[Job] = []
        if not is_raw:
            ending = wanted.suffix(default) if suffix is None else suffix
            jobs = plan_jobs(inputs, output, suffix=ending, ext=ext, recursive=recursive, frames=frames)
    except (ImageError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None
    if dry_run:
        _print_plan(jobs, as_json)
        return
    if is_raw:
        from .raw import upscale_stream

        with sigterm_as_interrupt():
            upscale_stream(parse_size("--size", size), output, upscalers, overwrite)
        return

    options = Options(
        overwrite, skip_existing, quality, metadata is Metadata.keep, frames, max_pixels, max_memory is None
    )
    results = []
    with sigterm_as_interrupt(), _reporting(report) as note, JobBars(len(jobs)) as bars:
        for result in run_jobs(jobs, upscalers, options, lambda job, *steps: bars.step(job.source.name, *steps)):
            results.append(result)
            bars.finish(len(results))
            note(result)
            _print_result(result, as_json)
    if as_json:
        print_json([_as_row(result) for result in results])
    if any(result.error for result in results):
        raise typer.Exit(1)


def _print_result(result: Result, as_json: bool) -> None:
    for note in result.notes:
        print_note(f"{result.source}: {note}")
    if result.error:
        print_error(result.error)
    elif as_json:
        return
    elif result.skipped:
        print(f"{result.source} → {result.target}  is there already", flush=True)
    else:
        how = {0: "", "exact": ", in exact tiles"}.get(result.tile, f", in tiles of {result.tile}")
        frames = f", {result.frames} frames" if result.frames > 1 else ""
        print(f"{result.source} → {result.target}  {result.size[0]}×{result.size[1]}{frames}{how}", flush=True)


def _print_plan(jobs: list[Job], as_json: bool) -> None:
    rows = [{"source": str(job.source), "target": str(job.target), "exists": job.target.exists()} for job in jobs]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print(f"{row['source']} → {row['target']}{'  is there already' if row['exists'] else ''}")


@contextmanager
def _reporting(path: Path | None) -> Iterator[Callable[[Result], None]]:
    """Yields what writes a result into the report, if one is wanted."""
    if path is None:
        yield lambda _: None
        return
    with open(path, "w", encoding="utf-8") as file:
        yield lambda result: print(json.dumps(_as_row(result), ensure_ascii=False), file=file, flush=True)


def _as_row(result: Result) -> dict[str, Any]:
    return {
        "source": str(result.source),
        "target": str(result.target) if result.target else None,
        "error": result.error,
        "skipped": result.skipped,
        "size": result.size,
        "frames": result.frames,
        "tile": result.tile,
        "notes": result.notes,
    }
