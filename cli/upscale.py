"""``lamnet upscale``: upscale images and raw video."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from .options import (
    Device,
    DeviceName,
    Json,
    Overwrite,
    Precision,
    PrecisionName,
    Tile,
    WeightsName,
    check_models,
    check_weights,
    parse_size,
    parse_tile,
)
from .output import JobBars, check_output, print_error, print_json, print_note, progress_bar

if TYPE_CHECKING:
    from lamnet_models.inference.files import Job, Result
    from lamnet_models.inference.upscaler import UpscalerPool


_HINTS = {
    "overwrite": "--overwrite replaces it, --skip-existing keeps it",
    "frames": "--frames upscales all",
    "max_pixels": "--max-pixels raises the limit",
    "background": "--background COLOR fills transparency",
}
"""Advice on errors, by the option of the library that avoids them."""


_IMAGE_OPTIONS = (
    "suffix",
    "ext",
    "quality",
    "metadata",
    "background",
    "frames",
    "max_pixels",
    "recursive",
    "skip_existing",
    "dry_run",
    "report",
    "as_json",
)
"""Parameters that do not apply to raw video."""


class Backend(str, Enum):
    """Inference backend."""

    torch = "torch"
    onnxruntime = "onnxruntime"


class Metadata(str, Enum):
    """Handling of EXIF and XMP metadata."""

    keep = "keep"
    strip = "strip"


def upscale(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT", help="Image files, folders or glob patterns; -: raw video from standard input."
        ),
    ],
    output: Annotated[
        str | None,  # not Path, which drops the slash at the end of a folder
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Output folder, or output file for one input.",
            show_default="the input's folder",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-n", help="Model name, checkpoint or .onnx file.", show_default="lamnet_x4, or by --scale"
        ),
    ] = None,
    weights: Annotated[
        WeightsName | None,
        typer.Option(
            help="Use weights for sharp images (clean), or for photographs with JPEG artifacts, noise or slight blur "
            "(photo).",
            show_default="clean; photo with --strength",
        ),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Set the strength of the photo weights, from 0, the clean weights, to 1; implies --weights photo.",
            show_default="1",
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            "--scale", "-s", min=1, help="Upscaling factor, such as 2, 4 or 2.5.", show_default="that of the model"
        ),
    ] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Output width in pixels.")] = None,
    height: Annotated[
        int | None, typer.Option(min=1, help="Output height in pixels; with --width: fit into both.")
    ] = None,
    tile: Tile = "auto",
    tile_pad: Annotated[int, typer.Option(min=0, help="Context around each tile in pixels.")] = 32,
    suffix: Annotated[str | None, typer.Option(help="Suffix of output names.", show_default="by scale: _x4")] = None,
    ext: Annotated[
        str, typer.Option(help="Output format: png, jpg, webp, tiff, bmp, avif, heic; auto: that of the input.")
    ] = "auto",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Quality of JPEG, WebP, AVIF and HEIC.")] = 95,
    metadata: Annotated[Metadata, typer.Option(help="Keep or strip EXIF and XMP metadata.")] = Metadata.keep,
    background: Annotated[
        str | None,
        typer.Option(
            metavar="COLOR",
            help="Color behind transparent images, such as white or #rrggbb, for formats without alpha.",
            show_default="an error for transparent images",
        ),
    ] = None,
    frames: Annotated[
        bool, typer.Option("--frames", help="Upscale all frames of animations and all pages of TIFF files.")
    ] = False,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of input pixels per image.", show_default="178,956,970")
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive/--no-recursive", "-r", help="Search folders recursively.")
    ] = True,
    overwrite: Overwrite = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Skip images whose output already exists.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check the images and print what would be done, without doing it."),
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write one JSON line per finished image to this file, replacing it.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="WIDTHxHEIGHT", help="Size of the input frames in pixels; requires raw video (-)."),
    ] = None,
    device: Device = DeviceName.auto,
    precision: Precision = PrecisionName.auto,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the model first, which takes about half a minute.")
    ] = False,
    backend: Annotated[
        Backend, typer.Option(help="Inference backend; onnxruntime runs on the CPU and requires the extra onnx.")
    ] = Backend.torch,
    max_memory: Annotated[
        str | None, typer.Option(help="Maximum memory, such as 4G or 512M.", show_default="free memory")
    ] = None,
    fp32: Annotated[bool, typer.Option("--fp32", help="Same as --precision fp32.")] = False,
    as_json: Json = False,
) -> None:
    """Upscale images.

    Bit depth (8 or 16), alpha, color profile, resolution and metadata are preserved; EXIF orientation is applied.

    Unreadable images are reported in one line each and skipped; the exit code is then 1.

    Example: lamnet upscale photo.jpg scans/ -o upscaled --ext png

    Video: ffmpeg -i a.mp4 -f rawvideo -pix_fmt rgb24 - | lamnet upscale - --size 640x360 -s 2 -o - | ffmpeg …
    """
    sides = parse_tile(tile)
    if fp32 and precision not in (PrecisionName.auto, PrecisionName.fp32):
        raise typer.BadParameter(f"--fp32 and --precision {precision.value} are mutually exclusive")
    if overwrite and skip_existing:
        raise typer.BadParameter("--overwrite and --skip-existing are mutually exclusive")
    is_raw = "-" in inputs
    if is_raw != (size is not None) or (is_raw and len(inputs) > 1):
        raise typer.BadParameter(
            "raw video requires - as the only input and --size WIDTHxHEIGHT, such as --size 640x360"
        )
    if output == "-" and not is_raw:
        raise typer.BadParameter("-o - requires raw video (-): results of image files need a file or folder")
    for parameter in context.command.params if is_raw else ():
        if parameter.name in _IMAGE_OPTIONS and context.get_parameter_source(parameter.name).name != "DEFAULT":
            raise typer.BadParameter(f"{parameter.opts[0]} requires image files, got raw video")
    if report:
        check_output(report, overwrite=True)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # Pillow warns about recoverable defects
    check_models(model)
    check_weights(model, weights, strength)
    from lamnet_models import ImageError
    from lamnet_models.inference.files import Options, plan_jobs, run_jobs
    from lamnet_models.inference.sizing import TargetSize
    from lamnet_models.inference.upscaler import UpscalerPool

    try:
        options = Options(
            overwrite=overwrite,
            skip_existing=skip_existing,
            quality=quality,
            metadata=metadata is Metadata.keep,
            frames=frames,
            max_pixels=max_pixels,
            background=background,
            overlap=max_memory is None,
        )
        target_size = TargetSize(scale, width, height)
        upscalers = UpscalerPool(
            model,
            target_size,
            weights=weights and weights.value,
            strength=strength,
            tile=sides,
            tile_pad=tile_pad,
            device=device.value,
            precision="fp32" if fp32 else precision.value,
            backend=backend.value,
            max_memory=max_memory,
            compile=compile,
        )
        jobs: list[Job] = []
        if not is_raw:
            name_suffix = target_size.suffix(upscalers.scale) if suffix is None else suffix
            jobs = plan_jobs(
                inputs,
                output,
                suffix=name_suffix,
                ext=ext,
                recursive=recursive,
                frames=frames,
                skip_existing=skip_existing,
                on_status=print_note,
            )
    except (ImageError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None
    if is_raw:
        with sigterm_as_interrupt():
            _upscale_raw(parse_size("--size", size), output, upscalers, overwrite)
        return

    results = []
    report = None if dry_run else report
    with sigterm_as_interrupt(), _open_report(report) as write_row, JobBars(len(jobs)) as bars:
        for result in run_jobs(jobs, upscalers, options, dry_run=dry_run, progress=bars.update, on_status=bars.start):
            results.append(result)
            bars.finish(len(results))
            write_row(result)
            _print_result(result, as_json)
    if as_json:
        print_json([_to_dict(result) for result in results])
    if any(result.error for result in results):
        raise typer.Exit(1)


def _upscale_raw(size: tuple[int, int], output: str | None, upscalers: UpscalerPool, overwrite: bool) -> None:
    """Upscale raw frames from standard input to standard output or a file.

    Args:
        size: Width and height of the input frames.
        output: Output file; ``-`` or None for standard output.
        upscalers: Networks to upscale with.
        overwrite: Whether the file may exist.
    """
    from lamnet_models.inference.files import upscale_raw

    path = None if output in (None, "-") else Path(output)
    if path is None and sys.stdout.isatty():
        raise typer.BadParameter(
            "refusing to write raw video to a terminal: pipe it to a program such as ffmpeg, or set -o FILE"
        )
    if path:
        if output.endswith(("/", os.sep)):
            raise typer.BadParameter(f"output must be a file, got the folder {output}")
        check_output(path, overwrite)
    progress = progress_bar()
    task = progress.add_task("frames", total=None)
    with progress, _sink(path) as sink, warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter("always", RuntimeWarning)
        source = sys.stdin.buffer.raw  # unbuffered, see upscale_raw
        upscale_raw(source, sink, size, upscalers, lambda done, _: progress.update(task, completed=done))
    for message in dict.fromkeys(str(warning.message) for warning in recorded):
        print_note(message)


@contextmanager
def _sink(path: Path | None) -> Iterator[BinaryIO]:
    """Yield a stream to standard output, or to a file that keeps the frames before an ImageError."""
    if path is None:
        yield sys.stdout.buffer
        return
    from lamnet_models import ImageError
    from lamnet_models.filesystem import atomic_path

    failure = None
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        try:
            yield file
        except ImageError as error:
            if not file.tell():
                raise
            failure = error
    if failure:
        raise failure


def _print_result(result: Result, as_json: bool) -> None:
    from lamnet_models.errors import one_line

    source, target = one_line(result.source), one_line(result.target)
    for note in _notes(result):
        print_note(f"{source}: {note}")
    if result.error:
        print_error(result.error + _hint(result.option))
    elif as_json:
        return
    elif result.skipped:
        print(f"{source} → {target}  exists, skipped", flush=True)
    else:
        tiling = {0: "", "exact": ", exact tiles"}.get(result.tile, f", tiles of {result.tile} pixels")
        frames = f", {result.frames} frames" if result.frames > 1 else ""
        print(f"{source} → {target}  {result.size[0]}×{result.size[1]}{frames}{tiling}", flush=True)


def _notes(result: Result) -> tuple[str, ...]:
    if result.suggested_weights is None:
        return result.notes
    advice = f"--weights {result.suggested_weights} reduces its artifacts"
    return *result.notes, f"JPEG of quality {result.jpeg_quality}: {advice}"


def _hint(option: str | None) -> str:
    return f"; {_HINTS[option]}" if option else ""


@contextmanager
def _open_report(path: Path | None) -> Iterator[Callable[[Result], None]]:
    """Yield a function that writes a result to the report, if any."""
    if path is None:
        yield lambda _: None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        yield lambda result: print(json.dumps(_to_dict(result)), file=file, flush=True)


def _to_dict(result: Result) -> dict[str, Any]:
    return {
        "source": str(result.source),
        "target": str(result.target) if result.target else None,
        "error": result.error,
        "skipped": result.skipped,
        "size": result.size,
        "frames": result.frames,
        "tile": result.tile,
        "notes": _notes(result),
        "jpeg_quality": result.jpeg_quality,
        "suggested_weights": result.suggested_weights,
    }


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM, so that partially written files are removed."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
