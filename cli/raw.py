"""Raw video for ``lamnet upscale -``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import typer

from .output import check_output, print_note
from .progress import progress_bar

if TYPE_CHECKING:
    from lamnet_models.upscaling.upscaler import UpscalerPool


def upscale_stream(size: tuple[int, int], output: Path | None, upscalers: UpscalerPool, overwrite: bool) -> None:
    """Upscale raw frames from standard input to standard output or a file.

    Args:
        size: Width and height of the input frames.
        output: Output file; ``-`` or None for standard output.
        upscalers: UpscalerPool to use.
        overwrite: Whether the file may exist.
    """
    from lamnet_models.upscaling.video import upscale_raw

    to_stdout = output is None or str(output) == "-"
    if to_stdout and sys.stdout.isatty():
        raise typer.BadParameter(
            "refusing to write raw video to a terminal: pipe it to a program such as ffmpeg, or set -o FILE"
        )
    if not to_stdout:
        check_output(output, overwrite)
    progress = progress_bar()
    task = progress.add_task("frames", total=None)
    with progress, _sink(None if to_stdout else output) as sink, warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter("always", RuntimeWarning)
        upscale_raw(sys.stdin.buffer, sink, size, upscalers, lambda done, _: progress.update(task, completed=done))
    for message in dict.fromkeys(str(warning.message) for warning in recorded):
        print_note(message)


@contextmanager
def _sink(path: Path | None) -> Iterator[BinaryIO]:
    if path is None:
        yield sys.stdout.buffer
        return
    from lamnet_models.files import atomic_path

    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        yield file
