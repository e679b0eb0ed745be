"""Read, upscale and write one file."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from ..errors import ImageError, LAMNetError
from ..images import Picture, read_image, unsupported_reason, write_image
from ..images.frames import Frames, frame_count, open_frames, write_frames
from ..images.messages import one_line, reason
from .plan import Job
from .sizing import resize_image
from .sources import path_key
from .strategy import TilePlan
from .upscalers import UpscalerPool


@dataclass(frozen=True)
class Result:
    """Result of one upscale job.

    Attributes:
        source: Input image.
        target: Output image, written by this job or, if skipped, by an earlier one; None if the job failed.
        error: One-line error message that names the file; None if the job succeeded.
        skipped: Whether the target existed and was kept.
        size: Width and height of the output in pixels.
        frames: Number of frames in the output.
        tile: Side of the tiles that ran, or ``"exact"``; 0: the whole image at once. For several frames, the smallest.
        notes: Warnings of a job that succeeded, such as of an out-of-memory fallback to smaller tiles.
    """

    source: Path
    target: Path | None = None
    error: str | None = None
    skipped: bool = False
    size: tuple[int, int] | None = None
    frames: int = 1
    tile: int | str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Options:
    """Options for reading and writing files.

    Attributes:
        overwrite: Replace existing files.
        skip_existing: Skip jobs whose output exists.
        quality: Quality of lossy formats, 1 to 100.
        metadata: Copy EXIF and XMP metadata to the output.
        frames: Upscale all frames or pages of a file; otherwise such files are refused.
        max_pixels: Maximum number of input pixels, see ``read_image``.
        overlap: Read the next image and write the previous one during the computation; otherwise memory holds one image
            at a time.
    """

    overwrite: bool = False
    skip_existing: bool = False
    quality: int = 95
    metadata: bool = True
    frames: bool = False
    max_pixels: int | None = None
    overlap: bool = True


class JobRunner:
    """The three stages of a job: read, upscale, write. Errors are returned, not raised.

    Args:
        jobs: All jobs.
        upscalers: Networks to upscale with.
        options: Read and write options.
    """

    def __init__(self, jobs: Sequence[Job], upscalers: UpscalerPool, options: Options) -> None:
        self.upscalers, self.options = upscalers, options
        self.taken = {path_key(path) for job in jobs for path in (job.source, job.target)}

    def read(self, job: Job) -> Picture | int | Result:
        """Return the input picture, the frame count if above 1, or a result if skipped or failed."""
        try:
            if existing := self._existing_result(job):
                return existing
            if self.options.frames and (count := frame_count(job.source)) > 1:
                return count
            return read_image(job.source, max_pixels=self.options.max_pixels)
        except Exception as error:
            return _failure(job, error)

    def upscale(
        self, job: Job, loaded: Picture | int | Result, progress: Callable[[int, int], None] | None
    ) -> tuple[Result, Picture | None]:
        """Return the job's result and the SR picture to write, if any."""
        if isinstance(loaded, Result):
            return loaded, None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                if isinstance(loaded, Picture):
                    result, picture = self._upscale(job, loaded, progress)
                else:
                    result, picture = self._upscale_frames(job, progress), None
            except Exception as error:
                return _failure(job, error), None
        notes = dict.fromkeys(one_line(w.message) for w in caught if w.category is RuntimeWarning)
        return replace(result, notes=tuple(notes)), picture

    def write(self, result: Result, picture: Picture | None) -> Result:
        """Write the SR picture, if any, and return the job's final result."""
        if picture is None:
            return result
        try:
            write_image(result.target, picture, quality=self.options.quality)
            return result
        except Exception as error:
            return _failure(result, error)

    def _upscale(
        self, job: Job, picture: Picture, progress: Callable[[int, int], None] | None
    ) -> tuple[Result, Picture]:
        target = self._target(job, picture)
        sr, plan = self._upscale_picture(picture, progress)
        return Result(job.source, target, size=(sr.width, sr.height), tile=plan.tile_option), sr

    def _upscale_frames(self, job: Job, progress: Callable[[int, int], None] | None) -> Result:
        sizes: list[tuple[int, int]] = []
        plans: list[TilePlan] = []

        def upscale_all(frames: Frames, pictures: Iterator[Picture]) -> Iterator[Picture]:
            for index, picture in enumerate(pictures):
                sr, plan = self._upscale_picture(picture, None)
                sizes.append((sr.width, sr.height))
                plans.append(plan)
                yield sr
                if progress:
                    progress(index + 1, frames.count)

        with open_frames(job.source, max_pixels=self.options.max_pixels) as frames:
            first = next(frames.pictures)
            target = self._target(job, first, multi_frame=True)
            pictures = upscale_all(frames, chain([first], frames.pictures))
            write_frames(target, replace(frames, pictures=pictures), quality=self.options.quality)
        smallest = min(plans, key=lambda plan: plan.mode.tile or math.inf)
        return Result(job.source, target, size=sizes[0], frames=len(sizes), tile=smallest.tile_option)

    def _upscale_picture(
        self, picture: Picture, progress: Callable[[int, int], None] | None
    ) -> tuple[Picture, TilePlan]:
        height, width = self.upscalers.result_size(picture.height, picture.width)
        upscaler = self.upscalers.for_size(picture.height, picture.width)
        output = upscaler.run(picture if self.options.metadata else picture.without_metadata(), progress=progress)
        return resize_image(output.image, height, width, upscaler.max_memory), output.plan

    def _existing_result(self, job: Job) -> Result | None:
        """Return the result of a skipped job; raise ImageError if the target may not be replaced."""
        if self.options.skip_existing:
            for target in (job.target, *self._png_fallback(job)):
                if target.exists():
                    return Result(job.source, target, skipped=True)
        self._check_overwrite(job.target)
        return None

    def _target(self, job: Job, picture: Picture, multi_frame: bool = False) -> Path:
        """Return the output path, in a format that holds the result; create its folder."""
        target = job.target
        height, width = self.upscalers.result_size(picture.height, picture.width)
        problem = unsupported_reason(target.suffix, height, width, picture.channels, picture.pixels.dtype, multi_frame)
        if not problem and not multi_frame:
            upscaler = self.upscalers.for_size(picture.height, picture.width)
            problem = upscaler.encoding_error(target.suffix, height, width)
        if problem:
            fallback = self._png_fallback(job)
            if not fallback:
                raise ImageError(f"{one_line(target)}: {problem}; choose another format, such as png")
            (target,) = fallback
            self._check_overwrite(target)
        _make_folder(target.parent, job.within)
        return target

    def _png_fallback(self, job: Job) -> tuple[Path, ...]:
        """Return the PNG path for results that the format cannot hold; empty if not available."""
        target = job.target.with_suffix(".png")
        return () if not job.allow_png or path_key(target) in self.taken else (target,)

    def _check_overwrite(self, target: Path) -> None:
        if not self.options.overwrite and target.exists():
            raise ImageError(f"{one_line(target)}: already exists; --overwrite replaces it, --skip-existing keeps it")


def _failure(job: Job | Result, error: Exception) -> Result:
    if isinstance(error, ImageError):
        return Result(job.source, error=str(error))
    if isinstance(error, LAMNetError | MemoryError | ValueError | OSError):
        return Result(job.source, error=f"{one_line(job.source)}: {reason(error)}")
    raise error


def _make_folder(folder: Path, within: Path | None) -> None:
    """Create a folder, unless a link places it outside ``within``."""
    try:
        if within is not None:
            within.mkdir(parents=True, exist_ok=True)
            top, resolved = os.path.realpath(within), os.path.realpath(folder)
            if os.path.commonpath((top, resolved)) != top:
                raise ImageError(f"{one_line(folder)}: refusing to write outside {one_line(within)} through a link")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"{one_line(folder)}: cannot be created ({reason(error)})") from None
