"""Upscale uploaded files like the command line does."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import ImageError, one_line
from ..image_io import WRITABLE, Picture, read_image
from ..inference.files import Job, Result, run_jobs
from ..inference.tiling import Progress
from ..inference.upscaler import UpscalerPool


def read_upload(source: Path) -> Picture:
    """Read an uploaded image; error messages name the file without its folder.

    Raises:
        ImageError: If it cannot be read, with the message of ``lamnet upscale``.
    """
    try:
        return read_image(source)
    except ImageError as error:
        raise ImageError(_without_folders(str(error), source.parent)) from None


def upscale_upload(
    source: Path, folder: Path, upscalers: UpscalerPool, ext: str = "auto", progress: Progress | None = None
) -> Result:
    """Upscale an uploaded image.

    Args:
        source: The file.
        folder: Output folder; the output name is the file's name with the scale as suffix, such as ``_x4``.
        upscalers: Networks to upscale with.
        ext: Output format, such as ``"png"``. ``"auto"``: the file's format, or PNG if that cannot hold the result.
        progress: Called after each tile with the number of tiles done and their total. An exception it raises cancels
            the job.

    Returns:
        The result of the job, which succeeded.

    Raises:
        ImageError: If reading, upscaling or writing fails, with the message of ``lamnet upscale``.
        ValueError: If ``ext`` is invalid.
    """
    source_suffix = source.suffix if source.suffix.lower() in WRITABLE else ".png"
    suffix = source_suffix if ext == "auto" else f".{ext}"
    if suffix.lower() not in WRITABLE:
        raise ValueError(f"ext must be one of auto, {', '.join(known[1:] for known in WRITABLE)}, got {ext!r}")
    target = folder / f"{source.stem}_x{upscalers.scale}{suffix}"
    (result,) = run_jobs([Job(source, target, allow_png=ext == "auto")], upscalers, progress=progress)
    if result.error:
        raise ImageError(_without_folders(result.error, source.parent, folder))
    return result


def _without_folders(message: str, *folders: Path) -> str:
    for folder in folders:
        message = message.replace(f"{one_line(folder)}{os.sep}", "")
    return message
