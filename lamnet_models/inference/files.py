"""Upscale files and raw video: find inputs, plan outputs, read, upscale and write."""

from __future__ import annotations

import glob
import os
import threading
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import ImageError, LAMNetError, error_reason, one_line, quantity
from ..image_io import READABLE, WRITABLE, Picture, read_image, unsupported_reason, write_image
from ..image_io.formats import FORMATS, FRAME_FORMATS, HEIF_MISSING, result_extension
from ..image_io.frames import Frames, check_pages, frame_count, open_frames, write_frames
from ..image_io.picture import parse_color
from ..image_io.write import dropped_color, encoder_memory, fit_alpha
from .planner import TilePlan, format_memory, host_memory
from .tiling import Progress
from .upscaler import UpscalerPool

_REMEDY = "choose another suffix or output folder for it"


@dataclass(frozen=True)
class Job:
    """One file to upscale.

    Attributes:
        source: Input image.
        target: Output path.
        allow_png: Whether the output may be written as PNG if the target's format cannot hold the result; True if the
            output format was not specified.
        within: Folder that must contain the target after links are resolved; None: not checked.
        conflict: Error message if the target is an input or the target of another job; such jobs fail.
    """

    source: Path
    target: Path
    allow_png: bool = False
    within: Path | None = None
    conflict: str | None = None

    @property
    def targets(self) -> tuple[Path, ...]:
        """The output path, and the PNG file that is written instead if the format cannot hold the result."""
        return (self.target, self.target.with_suffix(".png")) if self.allow_png else (self.target,)


@dataclass(frozen=True)
class Result:
    """Result of one upscale job.

    Attributes:
        source: Input image.
        target: Output image, written by this job or, if skipped, by an earlier one; None if the job failed.
        error: One-line error message that names the file; None if the job succeeded.
        skipped: Whether the target existed and was kept.
        option: Field of ``Options`` that avoids the error, if any: ``"overwrite"``, ``"frames"``, ``"max_pixels"`` or
            ``"background"``.
        size: Width and height of the output in pixels.
        frames: Number of frames in the output.
        tile: Side of the tiles that ran, or ``"exact"``; 0: the whole image at once. For several frames, the smallest.
        notes: Warnings of a job that succeeded, such as of an out-of-memory fallback to smaller tiles.
        jpeg_quality: Estimated quality of a JPEG input, 1 to 100; None for other formats and jobs that failed.
        suggested_weights: ``"photo"`` if photo weights are expected to be better than the default ones that were used,
            because of the JPEG quality; otherwise None.
    """

    source: Path
    target: Path | None = None
    error: str | None = None
    skipped: bool = False
    option: str | None = None
    size: tuple[int, int] | None = None
    frames: int = 1
    tile: int | str | None = None
    notes: tuple[str, ...] = ()
    jpeg_quality: int | None = None
    suggested_weights: str | None = None


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
        background: Color to blend transparent images onto, such as ``"white"`` or ``"#rrggbb"``, if the output format
            has no alpha channel. None: such jobs fail, or write PNG if the format was not specified.
        overlap: Read the next image and write the previous one during the computation; otherwise memory holds one image
            at a time.

    Raises:
        ValueError: If the background is not a color.
    """

    overwrite: bool = False
    skip_existing: bool = False
    quality: int = 95
    metadata: bool = True
    frames: bool = False
    max_pixels: int | None = None
    background: str | None = None
    overlap: bool = True

    def __post_init__(self) -> None:
        if self.background is not None:
            parse_color(self.background)


def plan_jobs(
    inputs: Sequence[str | os.PathLike],
    output: str | os.PathLike | None = None,
    *,
    suffix: str,
    ext: str = "auto",
    recursive: bool = True,
    frames: bool = False,
    skip_existing: bool = False,
    on_status: Callable[[str], None] | None = None,
) -> list[Job]:
    """Map input files to output paths, without opening any file.

    Args:
        inputs: Files, folders (all images in them), and patterns such as ``"photos/*.jpg"`` or ``"photos/**/*.png"``.
            Results of an earlier run are excluded from folders and patterns: files that this plan may write, and the
            folder ``output`` if it is inside an input. Hidden files and folders are skipped, and links to folders are
            not followed.
        output: A folder, created if missing, which mirrors the subfolders of the inputs; or, for a single input file, a
            file with a writable extension. None writes each result to the folder of its source.
        suffix: Inserted before the extension, unless ``output`` is a file.
        ext: Extension of the results, such as ``"png"``. ``"auto"`` keeps the source's extension, but uses png if that
            format cannot be written (GIF) or cannot hold the result (transparency in a BMP, a side too long for WebP).
        recursive: Include subfolders.
        frames: Upscale all frames of multi-frame images, so that GIF files stay GIF.
        skip_existing: Exclude existing results of other inputs even if an input names them, as ``*.jpg`` in a shell
            does after an earlier run.
        on_status: Called with a message for each kind of file that is skipped in folders and patterns because it is not
            supported, such as ``"2 .psd files skipped: not supported"``.

    Returns:
        The jobs in the order of the inputs, files of a folder or pattern sorted by name. Jobs that will fail are
        included: of missing files, and those whose results have the same path or would replace an input.

    Raises:
        ImageError: If a folder contains no images, or the output is one file for several inputs or is the input.
        ValueError: If ``ext`` or ``suffix`` is invalid, or a path is empty.
    """
    writable = tuple(dict.fromkeys((*WRITABLE, *FRAME_FORMATS))) if frames else WRITABLE
    extension = None if ext == "auto" else f".{ext.lower().removeprefix('.')}"
    if extension not in (None, *writable):
        if extension in FORMATS:
            raise ValueError(f"ext {ext!r} is not available: {HEIF_MISSING}")
        raise ValueError(f"ext must be one of auto, {', '.join(known[1:] for known in writable)}, got {ext!r}")
    if os.path.basename(suffix) != suffix:
        raise ValueError(f"suffix must not contain a path separator, got {suffix!r}")
    if "" in (*inputs, output):
        raise ValueError("inputs and output must be paths, got an empty string")
    folder = None if output is None else Path(output)
    sources: dict[str, _Source] = {}
    unsupported: Counter[str] = Counter()
    try:
        for source in _find_sources(inputs, recursive, folder, unsupported):
            sources.setdefault(_path_key(source.path), source)
    finally:
        for kind, count in sorted(unsupported.items()) if on_status else ():
            on_status(quantity(count, f"{kind or 'other'} file") + " skipped: not supported")
    if output is not None and _is_file(output, inputs, writable):
        target = _output_file(Path(output), len(sources), extension, writable)
        if _path_key(target) in sources:
            raise ImageError(f"{one_line(target)}: the result would replace the input; choose another output")
        jobs = [Job(source.path, target) for source in sources.values()]
    else:
        jobs = [_job(source, folder, suffix, extension, writable) for source in sources.values()]
    results = {key for job in jobs for path in job.targets if (key := _path_key(path)) != _path_key(job.source)}

    def is_kept(job: Job) -> bool:
        key = _path_key(job.source)
        return key not in results or (sources[key].is_explicit and not (skip_existing and job.source.exists()))

    return _mark_conflicts([job for job in jobs if is_kept(job)])


def _is_file(output: str | os.PathLike, inputs: Sequence[str | os.PathLike], writable: tuple[str, ...]) -> bool:
    path = Path(output)
    if path.is_dir() or os.fspath(output).endswith(("/", os.sep)) or not path.suffix:
        return False
    # Folder names may contain dots. For a single input file, an unknown extension is an error instead of a folder.
    return path.suffix.lower() in writable or (len(inputs) == 1 and Path(inputs[0]).is_file())


def _output_file(output: Path, sources: int, extension: str | None, writable: tuple[str, ...]) -> Path:
    name = one_line(output)
    if output.suffix.lower() not in writable:
        raise ImageError(f"{name}: unknown format; the extension must be one of {', '.join(writable)}")
    if sources > 1:
        raise ImageError(f"{name}: the output must be a folder for {sources} results, got a file")
    if extension not in (None, output.suffix.lower()):
        raise ImageError(f"{name}: its extension differs from the requested {extension}")
    return output


def _job(source: _Source, folder: Path | None, suffix: str, extension: str | None, writable: tuple[str, ...]) -> Job:
    path = source.path
    extension_out = extension or result_extension(path, writable)
    parent = path.parent if folder is None else folder / source.subfolder
    return Job(path, parent / f"{path.stem}{suffix}{extension_out}", allow_png=extension is None, within=folder)


def _mark_conflicts(jobs: list[Job]) -> list[Job]:
    """Return the jobs, with a message in those whose results have the same path or would replace an input."""
    sources = {_path_key(job.source) for job in jobs}
    rivals: dict[str, list[Job]] = {}
    for job in jobs:
        rivals.setdefault(_path_key(job.target), []).append(job)

    def conflict(job: Job) -> str | None:
        key = _path_key(job.target)
        if key in sources:
            return f"{one_line(job.source)}: its result would replace the input {one_line(job.target)}; {_REMEDY}"
        others = [one_line(other.source.name) for other in rivals[key] if other is not job]
        if not others:
            return None
        names = others[0] if len(others) == 1 else f"{others[0]} and {quantity(len(others) - 1, 'other file')}"
        return f"{one_line(job.source)}: its result has the same path as that of {names}; {_REMEDY}"

    return [replace(job, conflict=conflict(job)) for job in jobs]


def run_jobs(
    jobs: Sequence[Job],
    upscalers: UpscalerPool,
    options: Options | None = None,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    on_status: Callable[[str], None] | None = None,
) -> Iterator[Result]:
    """Upscale files one after another; a failure does not stop the others.

    While one image is upscaled, one thread reads the next and another writes the previous result; memory holds only
    these two besides the current image. Results are written atomically, so an interrupted run leaves no partial files.

    Args:
        jobs: Jobs from ``plan_jobs``.
        upscalers: Networks to upscale with.
        options: Read and write options.
        dry_run: Read and check the images, but upscale and write nothing. Results are those of a run, except for
            failures of upscaling and writing themselves, such as a full disk.
        progress: Called as a job advances, with the number of tiles or frames done and their total.
        on_status: Called with the name of each file before it is upscaled.

    Yields:
        The result of each job, in order, as soon as it is written.
    """
    options = options or Options()
    runner = _JobRunner(jobs, upscalers, options, dry_run)
    if not options.overlap:
        for job in jobs:
            if on_status:
                on_status(job.source.name)
            yield runner.write(*runner.upscale(job, runner.read(job), progress))
        return
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        reads: list[Future] = [reader.submit(runner.read, jobs[0])] if jobs else []
        writes: list[Future] = []
        for index, job in enumerate(jobs):
            if on_status:
                on_status(job.source.name)
            loaded = reads.pop().result()
            if index + 1 < len(jobs):
                reads.append(reader.submit(runner.read, jobs[index + 1]))
            upscaled = runner.upscale(job, loaded, progress)
            del loaded
            if writes:
                yield writes.pop().result()
            writes.append(writer.submit(runner.write, *upscaled))
            del upscaled
        for last in writes:
            yield last.result()


class _JobRunner:
    """The three stages of a job: read, upscale, write. Errors are returned, not raised.

    Args:
        jobs: All jobs.
        upscalers: Networks to upscale with.
        options: Read and write options.
        dry_run: Whether to skip upscaling and writing.
    """

    def __init__(self, jobs: Sequence[Job], upscalers: UpscalerPool, options: Options, dry_run: bool) -> None:
        self.upscalers, self.options, self.dry_run = upscalers, options, dry_run
        self.taken = {_path_key(path) for job in jobs for path in (job.source, job.target)}

    def read(self, job: Job) -> Picture | int | Result:
        """Return the input picture, the frame count if above 1, or a result if skipped or failed."""
        try:
            if job.conflict:
                raise ImageError(job.conflict)
            if existing := self._existing_result(job):
                return existing
            max_pixels = self.options.max_pixels
            if self.options.frames and (count := frame_count(job.source, max_pixels=max_pixels)) > 1:
                return count
            return read_image(job.source, max_pixels=max_pixels)
        except Exception as error:
            return _failure(job, error)

    def upscale(
        self, job: Job, loaded: Picture | int | Result, progress: Progress | None
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
        return replace(result, notes=(*notes, *result.notes)), picture

    def write(self, result: Result, picture: Picture | None) -> Result:
        """Write the SR picture, if any, and return the job's final result."""
        if picture is None or self.dry_run:
            return result
        try:
            write_image(result.target, picture, quality=self.options.quality)
            return result
        except Exception as error:
            return _failure(result, error)

    def _upscale(self, job: Job, picture: Picture, progress: Progress | None) -> tuple[Result, Picture]:
        picture = fit_alpha(job.target.suffix, picture, self.options.background)
        target = self._target(job, picture)
        sr, plan = self._upscale_picture(picture, progress)
        notes = (*picture.notes, *_color_notes(target, sr))
        result = Result(
            job.source,
            target,
            size=self._size(picture),
            tile=plan.tile_option,
            notes=notes,
            jpeg_quality=picture.jpeg_quality,
            suggested_weights=self.upscalers.suggested_weights(picture),
        )
        return result, sr

    def _upscale_frames(self, job: Job, progress: Progress | None) -> Result:
        sizes: list[tuple[int, int]] = []
        plans: list[TilePlan] = []

        def upscale_all(frames: Frames, pictures: Iterator[Picture]) -> Iterator[Picture]:
            for index, picture in enumerate(pictures):
                sr, plan = self._upscale_picture(picture, None)
                sizes.append(self._size(picture))
                plans.append(plan)
                yield sr
                if progress:
                    progress(index + 1, frames.count)

        with open_frames(job.source, max_pixels=self.options.max_pixels) as frames:
            first = next(frames.pictures)
            target = self._target(job, first, multi_frame=True)
            check_pages(target, frames)
            pictures = upscale_all(frames, chain([first], frames.pictures))
            if self.dry_run:
                deque(pictures, maxlen=0)
            else:
                write_frames(target, replace(frames, pictures=pictures), quality=self.options.quality)
        tile = TilePlan.smallest(plans).tile_option
        notes = (*first.notes, *_color_notes(target, first))
        return Result(job.source, target, size=sizes[0], frames=len(sizes), tile=tile, notes=notes)

    def _size(self, picture: Picture) -> tuple[int, int]:
        """Return width and height of the result."""
        height, width = self.upscalers.result_size(picture.height, picture.width)
        return width, height

    def _upscale_picture(self, picture: Picture, progress: Progress | None) -> tuple[Picture, TilePlan]:
        """Return the SR picture, in a dry run the picture itself, and the tile plan."""
        picture = picture if self.options.metadata else picture.without_metadata()
        if self.dry_run:
            return picture, self.upscalers.plan(picture)
        output = self.upscalers.run(picture, progress=progress)
        return output.image, output.plan

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
        problem = unsupported_reason(
            target.suffix, height, width, picture.channels, picture.pixels.dtype, multi_frame, picture.color.hdr
        )
        if not problem and not multi_frame:
            problem = _encoding_error(target.suffix, height, width, picture.pixels.dtype, self.upscalers.max_memory)
        if problem:
            fallback = self._png_fallback(job)
            if not fallback:
                raise _format_error(job, picture, problem, multi_frame)
            (target,) = fallback
            self._check_overwrite(target)
            self.taken.add(_path_key(target))
        _check_folder(target.parent, job.within)
        if not self.dry_run:
            _make_folder(target.parent)
        return target

    def _png_fallback(self, job: Job) -> tuple[Path, ...]:
        """Return the PNG path for results that the format cannot hold; empty if not available."""
        return tuple(target for target in job.targets[1:] if _path_key(target) not in self.taken)

    def _check_overwrite(self, target: Path) -> None:
        if not self.options.overwrite and target.exists():
            raise ImageError(f"{one_line(target)}: already exists", option="overwrite")


def _format_error(job: Job, picture: Picture, problem: str, multi_frame: bool) -> ImageError:
    has_alpha = (FORMATS | FRAME_FORMATS)[job.target.suffix.lower()].alpha
    option = None if multi_frame or has_alpha or picture.channels in (1, 3) else "background"
    return ImageError(f"{one_line(job.target)}: {problem}; choose another format, such as png", option)


def _encoding_error(extension: str, height: int, width: int, dtype: np.dtype, max_memory: int | None) -> str | None:
    """Return an error message if encoding a result exceeds ``max_memory``, otherwise None."""
    need = encoder_memory(extension, height, width, dtype)
    if max_memory is None or need <= host_memory(max_memory):
        return None
    return f"encoding {width}x{height} pixels needs {format_memory(need)} of memory, more than max_memory leaves"


def _color_notes(target: Path, picture: Picture) -> tuple[str, ...]:
    note = dropped_color(target.suffix, picture)
    return (note,) if note else ()


def _failure(job: Job | Result, error: Exception) -> Result:
    if isinstance(error, ImageError):
        return Result(job.source, error=str(error), option=error.option)
    if isinstance(error, LAMNetError | MemoryError | ValueError | OSError):
        return Result(job.source, error=f"{one_line(job.source)}: {error_reason(error)}")
    raise error


def _check_folder(folder: Path, within: Path | None) -> None:
    """Raise if a folder cannot be created, or a link places it outside ``within``."""
    if within is not None:
        top, resolved = os.path.realpath(within), os.path.realpath(folder)
        if os.path.commonpath((top, resolved)) != top:
            raise ImageError(f"{one_line(folder)}: refusing to write outside {one_line(within)} through a link")
    nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not nearest.is_dir():
        raise ImageError(f"{one_line(folder)}: cannot be an output folder, because {one_line(nearest)} is a file")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"{one_line(folder)}: cannot be created ({error_reason(error)})") from None


@dataclass(frozen=True)
class _Source:
    """An input file.

    Attributes:
        path: The file.
        is_explicit: Whether the input named this file, not a folder or pattern.
        subfolder: Folder of the file, relative to the input folder.
    """

    path: Path
    is_explicit: bool = False
    subfolder: Path = Path()


def _find_sources(
    inputs: Sequence[str | os.PathLike], recursive: bool, exclude: Path | None, unsupported: Counter[str]
) -> Iterator[_Source]:
    """Yield the input files, those of a folder or pattern sorted by name.

    Args:
        inputs: Files, folders and patterns, see ``plan_jobs``. Missing files are yielded too.
        recursive: Include subfolders.
        exclude: Folder to skip.
        unsupported: Counts files of folders and patterns that are not images, by extension.

    Raises:
        ImageError: If a folder cannot be listed or contains no images.
    """
    excluded = None if exclude is None else _path_key(exclude)
    for item in inputs:
        path = Path(item)
        sources: list[_Source] = []
        if path.is_dir():
            sources = list(_walk(path, recursive, excluded, unsupported))
            if not sources:
                raise ImageError(f"{one_line(path)}: the folder contains no images")
        elif not path.exists() and any(character in str(path) for character in "*?["):
            sources = list(_match(path, excluded, unsupported))
        yield from sources or [_Source(path, is_explicit=True)]


def _path_key(path: Path) -> str:
    """Return a key that is equal for all paths of one file."""
    return os.path.normcase(os.path.realpath(path))


def _walk(top: Path, recursive: bool, excluded: str | None, unsupported: Counter[str]) -> Iterator[_Source]:
    def fail(error: OSError) -> None:
        raise ImageError(f"{one_line(error.filename)}: cannot be listed ({error_reason(error)})") from None

    for folder, folders, names in os.walk(top, onerror=fail):
        parent = Path(folder)
        folders[:] = [
            name
            for name in sorted(folders)
            if recursive and not name.startswith(".") and _path_key(parent / name) != excluded
        ]
        for name in sorted(names):
            if not name.startswith(".") and _is_image(parent / name, unsupported):
                yield _Source(parent / name, subfolder=parent.relative_to(top))


def _match(pattern: Path, excluded: str | None, unsupported: Counter[str]) -> Iterator[_Source]:
    parts = pattern.parts[:-1]
    fixed = next((i for i, part in enumerate(parts) if any(character in part for character in "*?[")), len(parts))
    for path in map(Path, sorted(glob.glob(str(pattern), recursive=True))):
        subfolder = Path(*path.parts[fixed:-1])
        matched = path.parents[: len(subfolder.parts)]
        if any(folder.is_symlink() or _path_key(folder) == excluded for folder in matched):
            continue
        if _is_image(path, unsupported):
            yield _Source(path, subfolder=subfolder)


def _is_image(path: Path, unsupported: Counter[str]) -> bool:
    """Return whether a path is a file with the extension of an image; count other files by extension."""
    if not path.is_file():
        return False
    is_image = path.suffix.lower() in READABLE
    if not is_image:
        unsupported[one_line(path.suffix.lower())] += 1
    return is_image


# Raw video: a byte stream of rgb24 frames, as read and written by ffmpeg


def upscale_raw(
    source: BinaryIO,
    sink: BinaryIO,
    size: tuple[int, int],
    upscalers: UpscalerPool,
    progress: Progress | None = None,
) -> int:
    """Upscale raw RGB frames, 8 bits per channel, top row first, until the stream ends.

    While one frame is upscaled, one thread reads the next and another writes the previous one. Memory holds these three
    frames, regardless of the length of the video.

    Args:
        source: Stream of input frames. If an error ends the call, a daemon thread may still read one frame; use an
            unbuffered stream if it may stall, as Python waits for the lock of a buffered one at exit.
        sink: Stream for output frames.
        size: Width and height of the input frames.
        upscalers: Networks and target size.
        progress: Called after each frame with the number of frames done and 0, as their total is unknown.

    Returns:
        The number of frames written.

    Raises:
        ImageError: If the stream is empty, or the last frame is incomplete; the frames before it are written.
        LAMNetError: If the target size is not larger than the frames or out of range, or memory is short.
        OSError: If writing to the sink fails.
    """
    width, height = size
    count = 0
    with ThreadPoolExecutor(1, "write") as writer:
        pending_read, pending_write = _start_read(source, height, width), None
        while len(data := pending_read.result()) == 3 * height * width:
            pending_read = _start_read(source, height, width)
            pixels = np.frombuffer(data, np.uint8).reshape(height, width, 3)
            upscaled = upscalers.run(pixels).image
            _wait(pending_write)
            pending_write = writer.submit(sink.write, upscaled.data)
            count += 1
            if progress:
                progress(count, 0)
        _wait(pending_write)
    sink.flush()
    if data:
        raise ImageError(
            f"frame {count + 1} must have {3 * height * width:,} bytes ({width}x{height}, rgb24), got {len(data):,}: "
            "the stream is truncated or has another format"
        )
    if not count:
        raise ImageError("the stream contains no frames")
    return count


def _start_read(source: BinaryIO, height: int, width: int) -> Future:
    """Read the next frame in a daemon thread, which does not delay the exit of the process if the stream stalls."""
    future: Future = Future()

    def read() -> None:
        try:
            future.set_result(_read_frame(source, height, width))
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=read, name="read", daemon=True).start()
    return future


def _read_frame(source: BinaryIO, height: int, width: int) -> bytearray:
    """Return the bytes of the next frame, fewer at the end of the stream."""
    data, length = bytearray(3 * height * width), 0
    view = memoryview(data)
    while length < len(data) and (count := source.readinto(view[length:])):
        length += count
    view.release()
    del data[length:]
    return data


def _wait(future: Future | None) -> None:
    if future:
        future.result()
