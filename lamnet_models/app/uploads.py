"""Files that somebody sent, enlarged as the command does it."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import ImageError
from ..images import WRITABLE, Picture, read_image
from ..images.messages import one_line
from ..upscaling.files import run_jobs
from ..upscaling.plan import Job
from ..upscaling.steps import Result
from ..upscaling.tiling import Progress
from ..upscaling.upscalers import UpscalerPool


def read_upload(source: Path) -> Picture:
    """Reads a picture; errors name the file and not the folder, of which the sender knows nothing.

    Raises:
        ImageError: If it cannot be read, in the words of ``lamnet upscale``.
    """
    try:
        return read_image(source)
    except ImageError as error:
        raise ImageError(_without_folders(str(error), source.parent)) from None


def upscale_upload(
    source: Path, folder: Path, upscalers: UpscalerPool, ext: str = "auto", progress: Progress | None = None
) -> Result:
    """Enlarges a picture.

    Args:
        source: The file.
        folder: Where the result goes, under the file's name with ``_x4`` and so on behind it.
        upscalers: What to do it with.
        ext: Format of the result, such as ``"png"``; ``"auto"`` is the file's own, or PNG where that cannot hold it.
        progress: Called after each step with the steps done and all steps. What it raises ends the work.

    Returns:
        The result, which is there.

    Raises:
        ImageError: If the file cannot be read, enlarged or written, in the words of ``lamnet upscale``.
        ValueError: If there is no such format.
    """
    own = source.suffix if source.suffix.lower() in WRITABLE else ".png"
    suffix = own if ext == "auto" else f".{ext}"
    if suffix.lower() not in WRITABLE:
        raise ValueError(f"ext is {ext!r}, but it must be one of auto, {', '.join(known[1:] for known in WRITABLE)}")
    target = folder / f"{source.stem}_x{upscalers.default.scale}{suffix}"
    step = progress and (lambda _, done, total: progress(done, total) if total else None)
    (result,) = run_jobs([Job(source, target, allow_png=ext == "auto")], upscalers, progress=step)
    if result.error:
        raise ImageError(_without_folders(result.error, source.parent, folder))
    return result


def _without_folders(message: str, *folders: Path) -> str:
    for folder in folders:
        message = message.replace(f"{one_line(folder)}{os.sep}", "")
    return message
