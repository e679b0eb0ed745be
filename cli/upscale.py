"""``lamnet upscale``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Device, DeviceName, Json, Overwrite, Precision, PrecisionName, Scale, Tile, parse_tile
from .output import print_error, print_json, print_note
from .progress import bars

if TYPE_CHECKING:
    from lamnet_models.upscaling.plan import Job


def upscale(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help="Images, folders of them, or patterns.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder, or for one image a file. [default: beside the image]")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-n", help="Name of a model, or a checkpoint file. [default: lamnet_x4, or by --scale]"
        ),
    ] = None,
    scale: Scale = None,
    tile: Tile = "auto",
    tile_pad: Annotated[int, typer.Option(min=0, help="Pixels around a tile that are run with it.")] = 32,
    suffix: Annotated[str | None, typer.Option(help="Put behind the name. [default: _x4 and so on]")] = None,
    ext: Annotated[str, typer.Option(help="Format: png, jpg, webp, tiff, bmp; auto: the image's own.")] = "auto",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG and WebP.")] = 95,
    overwrite: Overwrite = False,
    device: Device = DeviceName.auto,
    precision: Precision = PrecisionName.auto,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the network first: half a minute, then faster.")
    ] = False,
    max_memory: Annotated[
        str | None, typer.Option(help="Most memory to take, such as 4G or 512M. [default: what is free]")
    ] = None,
    fp32: Annotated[bool, typer.Option("--fp32", help="Short for --precision fp32.")] = False,
    as_json: Json = False,
) -> None:
    """Enlarges images.

    Keeps 16 bits, transparency, colour profile and resolution; turns photographs upright.

    What cannot be read gets one line; the rest is done, and the exit code is 1.

    Example: lamnet upscale photo.jpg scans/ -o enlarged --ext png
    """
    sides = parse_tile(tile)
    from lamnet_models import ImageError, Upscaler
    from lamnet_models.upscaling.files import run_jobs
    from lamnet_models.upscaling.plan import plan_jobs

    try:
        upscaler = Upscaler(
            model,
            scale=scale,
            tile=sides,
            tile_pad=tile_pad,
            device=device.value,
            precision="fp32" if fp32 else precision.value,
            max_memory=max_memory,
            compile=compile,
        )
        jobs = plan_jobs(inputs, output, scale=upscaler.scale, suffix=suffix, ext=ext)
    except (ImageError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None

    results = []
    with _Progress(jobs) as progress:
        for result in run_jobs(jobs, upscaler, overwrite=overwrite, quality=quality, progress=progress.step):
            results.append(result)
            progress.start(len(results))
            for note in result.notes:
                print_note(f"{result.source}: {note}")
            if result.error:
                print_error(result.error)
            elif not as_json:
                how = {0: "", "exact": ", in exact tiles"}.get(result.tile, f", in tiles of {result.tile}")
                print(f"{result.source} → {result.target}  {result.size[0]}×{result.size[1]}{how}", flush=True)
    if as_json:
        print_json(
            [
                {
                    "source": str(result.source),
                    "target": str(result.target) if result.target else None,
                    "error": result.error,
                    "size": result.size,
                    "tile": result.tile,
                    "notes": result.notes,
                }
                for result in results
            ]
        )
    if any(result.error for result in results):
        raise typer.Exit(1)


class _Progress:
    """Bars on standard error, where that is a terminal: one over the files, one over the tiles of a file."""

    def __init__(self, jobs: list[Job]) -> None:
        self._bars = bars()
        self._jobs = jobs
        self._files = self._bars.add_task("files", total=len(jobs), visible=len(jobs) > 1)
        self._file = self._bars.add_task("", total=None)

    def __enter__(self) -> _Progress:
        self._bars.start()
        self.start(0)
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def step(self, _: Job, done: int, total: int) -> None:
        """Shows how far the job under way is."""
        self._bars.update(self._file, completed=done, total=total)

    def start(self, index: int) -> None:
        """Shows that so many jobs are done and the next one is under way, how far nobody knows yet."""
        self._bars.update(self._files, completed=index)
        if index < len(self._jobs):
            self._bars.remove_task(self._file)
            self._file = self._bars.add_task(self._jobs[index].source.name, total=None)
