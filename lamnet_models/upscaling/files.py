"""Many files enlarged, one after another, each to its own success or failure."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ImageError, LAMNetError
from ..images import read_image, refusal, write_image
from ..images.messages import one_line, reason
from .plan import Job, path_key
from .upscaler import Upscaler


@dataclass(frozen=True)
class Result:
    """What became of a job.

    Attributes:
        source: The image.
        target: The larger one; None if it was not written.
        error: Why not, in one line that names the file; None if all went well.
        size: Width and height of the larger one in pixels.
        tile: Side of the tiles it was cut into, or ``"exact"``; 0 for the whole at once.
        notes: Lines worth telling of a job that went well.
    """

    source: Path
    target: Path | None = None
    error: str | None = None
    size: tuple[int, int] | None = None
    tile: int | str | None = None
    notes: tuple[str, ...] = ()


def run_jobs(
    jobs: Sequence[Job],
    upscaler: Upscaler,
    *,
    overwrite: bool = False,
    quality: int = 95,
    progress: Callable[[Job, int, int], None] | None = None,
) -> Iterator[Result]:
    """Enlarges file after file, whatever becomes of the others.

    Args:
        jobs: What to do, from ``plan_jobs``.
        upscaler: What to do it with.
        overwrite: Whether results may replace files that exist.
        quality: 1 to 100, of JPEG and WebP.
        progress: Called after each step of a job with the job, the steps done and all its steps.

    Yields:
        What became of each job, as soon as it is done.
    """
    taken = {path_key(path) for job in jobs for path in (job.source, job.target)}
    for job in jobs:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = _run(job, upscaler, overwrite, quality, taken, progress)
        yield replace(result, notes=tuple(one_line(w.message) for w in caught if w.category is RuntimeWarning))


def _run(
    job: Job,
    upscaler: Upscaler,
    overwrite: bool,
    quality: int,
    taken: set[str],
    progress: Callable[[Job, int, int], None] | None,
) -> Result:
    try:
        _check_free(job.target, overwrite)
        picture = read_image(job.source)
        height, width = upscaler.scale * picture.height, upscaler.scale * picture.width
        target = job.target
        why = refusal(target.suffix, height, width, picture.channels, picture.pixels.dtype)
        if why := why or upscaler.no_room_to_write(target.suffix, height, width):
            target = target.with_suffix(".png")
            if not job.any_format or path_key(target) in taken:
                raise ImageError(f"{one_line(job.target)}: {why}; choose another format, such as png")
            _check_free(target, overwrite)
        _make_folder(target.parent)
        tile = upscaler.tile_for(picture.height, picture.width)
        larger = upscaler(picture, progress=progress and (lambda done, total: progress(job, done, total)))
        write_image(target, larger, quality=quality)
        return Result(job.source, target, size=(width, height), tile=tile)
    except ImageError as error:
        return Result(job.source, error=str(error))
    except (LAMNetError, MemoryError, ValueError) as error:
        return Result(job.source, error=f"{one_line(job.source)}: {reason(error)}")


def _check_free(target: Path, overwrite: bool) -> None:
    if not overwrite and target.exists():
        raise ImageError(f"{one_line(target)}: already exists; --overwrite replaces it")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"{one_line(folder)}: cannot be made ({reason(error)})") from None
