"""One file enlarged: read, computed, written."""

from __future__ import annotations

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
from .sizing import resized
from .sources import path_key
from .upscalers import Upscalers


@dataclass(frozen=True)
class Result:
    """What became of a job.

    Attributes:
        source: The image.
        target: The larger one, written now or, where the job was skipped, before; None if there is none.
        error: Why not, in one line that names the file; None if all went well.
        skipped: Whether the target was there already and nothing was done.
        size: Width and height of the larger one in pixels.
        frames: How many pictures it holds.
        tile: Side of the tiles it was cut into, or ``"exact"``; 0 for the whole at once.
        notes: Lines worth telling of a job that went well.
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
    """How files are read and written.

    Attributes:
        overwrite: Whether results may replace files that exist.
        skip_existing: Whether a job whose result exists is done already.
        quality: 1 to 100, of formats that lose something.
        metadata: Whether results get the EXIF data and XMP of their sources.
        frames: Whether animations and files of several pages are enlarged, and not refused.
        max_pixels: Most pixels that a picture may have, see ``read_image``.
        overlap: Whether the next image is read and the last one written while one is enlarged; otherwise memory holds
            one at a time.
    """

    overwrite: bool = False
    skip_existing: bool = False
    quality: int = 95
    metadata: bool = True
    frames: bool = False
    max_pixels: int | None = None
    overlap: bool = True


class Steps:
    """The three steps of a job, each of which passes on what went wrong instead of raising it.

    Args:
        jobs: All jobs.
        upscalers: What to do them with.
        options: How files are read and written.
    """

    def __init__(self, jobs: Sequence[Job], upscalers: Upscalers, options: Options) -> None:
        self.upscalers, self.options = upscalers, options
        self.taken = {path_key(path) for job in jobs for path in (job.source, job.target)}

    def read(self, job: Job) -> Picture | int | Result:
        """Returns a job's picture; the number of its pictures, if there are several; or a result that is there."""
        try:
            if done := self._done_before(job):
                return done
            if self.options.frames and (count := frame_count(job.source)) > 1:
                return count
            return read_image(job.source, max_pixels=self.options.max_pixels)
        except Exception as error:
            return _failure(job, error)

    def enlarge(
        self, job: Job, loaded: Picture | int | Result, progress: Callable[[int, int], None] | None
    ) -> tuple[Result, Picture | None]:
        """Returns a job's result, and the picture that is still to be written."""
        if isinstance(loaded, Result):
            return loaded, None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                if isinstance(loaded, Picture):
                    result, larger = self._enlarge(job, loaded, progress)
                else:
                    result, larger = self._enlarge_frames(job, progress), None
            except Exception as error:
                return _failure(job, error), None
        notes = dict.fromkeys(one_line(w.message) for w in caught if w.category is RuntimeWarning)
        return replace(result, notes=tuple(notes)), larger

    def write(self, result: Result, larger: Picture | None) -> Result:
        """Writes a job's picture, if there is still one, and returns what became of it."""
        if larger is None:
            return result
        try:
            write_image(result.target, larger, quality=self.options.quality)
            return result
        except Exception as error:
            return _failure(result, error)

    def _enlarge(
        self, job: Job, picture: Picture, progress: Callable[[int, int], None] | None
    ) -> tuple[Result, Picture]:
        target = self._target(job, picture)
        larger, tile = self._larger(picture, progress)
        return Result(job.source, target, size=(larger.width, larger.height), tile=tile), larger

    def _enlarge_frames(self, job: Job, progress: Callable[[int, int], None] | None) -> Result:
        sizes: list[tuple[int, int]] = []
        tiles: list[int | str] = []

        def enlarged(frames: Frames, pictures: Iterator[Picture]) -> Iterator[Picture]:
            for index, picture in enumerate(pictures):
                larger, tile = self._larger(picture, None)
                sizes.append((larger.width, larger.height))
                tiles.append(tile)
                yield larger
                if progress:
                    progress(index + 1, frames.count)

        with open_frames(job.source, max_pixels=self.options.max_pixels) as frames:
            first = next(frames.pictures)
            target = self._target(job, first, several=True)
            pictures = enlarged(frames, chain([first], frames.pictures))
            write_frames(target, replace(frames, pictures=pictures), quality=self.options.quality)
        return Result(job.source, target, size=sizes[0], frames=len(sizes), tile=tiles[0])

    def _larger(self, picture: Picture, progress: Callable[[int, int], None] | None) -> tuple[Picture, int | str]:
        height, width = self.upscalers.result_size(picture.height, picture.width)
        upscaler = self.upscalers.for_picture(picture.height, picture.width)
        tile = upscaler.tile_for(picture.height, picture.width)
        larger = upscaler(picture if self.options.metadata else picture.without_metadata(), progress=progress)
        return resized(larger, height, width, upscaler.max_memory), tile

    def _done_before(self, job: Job) -> Result | None:
        """Returns a job's result if it is there already and shall stay; raises ImageError if it shall not."""
        if self.options.skip_existing:
            for target in (job.target, *self._alternative(job)):
                if target.exists():
                    return Result(job.source, target, skipped=True)
        self._check_free(job.target)
        return None

    def _target(self, job: Job, picture: Picture, several: bool = False) -> Path:
        """Returns where the result goes, in a folder that is there, and in a format that holds it."""
        target = job.target
        height, width = self.upscalers.result_size(picture.height, picture.width)
        why = unsupported_reason(target.suffix, height, width, picture.channels, picture.pixels.dtype, several)
        if not why and not several:
            upscaler = self.upscalers.for_picture(picture.height, picture.width)
            why = upscaler.no_room_to_write(target.suffix, height, width)
        if why:
            other = self._alternative(job)
            if not other:
                raise ImageError(f"{one_line(target)}: {why}; choose another format, such as png")
            (target,) = other
            self._check_free(target)
        _make_folder(target.parent, job.within)
        return target

    def _alternative(self, job: Job) -> tuple[Path, ...]:
        """Returns where a result goes whose format cannot hold it, if nothing else goes there."""
        target = job.target.with_suffix(".png")
        return () if not job.any_format or path_key(target) in self.taken else (target,)

    def _check_free(self, target: Path) -> None:
        if not self.options.overwrite and target.exists():
            raise ImageError(f"{one_line(target)}: already exists; --overwrite replaces it, --skip-existing keeps it")


def _failure(job: Job | Result, error: Exception) -> Result:
    if isinstance(error, ImageError):
        return Result(job.source, error=str(error))
    if isinstance(error, LAMNetError | MemoryError | ValueError | OSError):
        return Result(job.source, error=f"{one_line(job.source)}: {reason(error)}")
    raise error


def _make_folder(folder: Path, within: Path | None) -> None:
    """Makes a folder, unless a link leads it out of the one that it is to be in."""
    try:
        if within is not None:
            within.mkdir(parents=True, exist_ok=True)
            top, place = os.path.realpath(within), os.path.realpath(folder)
            if os.path.commonpath((top, place)) != top:
                raise ImageError(f"{one_line(folder)}: a link leads out of {one_line(within)}: not written there")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"{one_line(folder)}: cannot be made ({reason(error)})") from None
