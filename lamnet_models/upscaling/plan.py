"""Plan upscale jobs: input files and output paths."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ImageError, one_line
from ..images import WRITABLE
from ..images.formats import ALIASES, FORMATS, FRAME_FORMATS, HEIF_MISSING
from .sources import Source, find_sources, path_key


@dataclass(frozen=True)
class Job:
    """One file to upscale.

    Attributes:
        source: Input image.
        target: Output path.
        allow_png: Whether the output may be written as PNG if the target's format cannot hold the result; True if the
            output format was not specified.
        within: Folder that must contain the target after links are resolved; None: not checked.
    """

    source: Path
    target: Path
    allow_png: bool = False
    within: Path | None = None


def plan_jobs(
    inputs: Sequence[str | os.PathLike],
    output: str | os.PathLike | None = None,
    *,
    suffix: str,
    ext: str = "auto",
    recursive: bool = True,
    frames: bool = False,
) -> list[Job]:
    """Map input files to output paths, without opening any file.

    Args:
        inputs: Files, folders (all images in them), and patterns such as ``"photos/*.jpg"`` or ``"photos/**/*.png"``.
            Results of an earlier run are excluded from folders and patterns: files that this plan would write, and the
            folder ``output`` if it is inside an input. Hidden files and folders are skipped, and links to folders are
            not followed.
        output: A folder, created if missing, which mirrors the subfolders of the inputs; or, for a single input file, a
            file with a writable extension. None writes each result to the folder of its source.
        suffix: Inserted before the extension, unless ``output`` is a file.
        ext: Extension of the results, such as ``"png"``. ``"auto"`` keeps the source's extension, but uses png if that
            format cannot be written (GIF) or cannot hold the result (transparency in a BMP, a side too long for WebP).
        recursive: Include subfolders.
        frames: Upscale all frames of multi-frame images, so that GIF files stay GIF.

    Returns:
        The jobs in the order of the inputs, files of a folder or pattern sorted by name. A missing file gets a job too,
        which will fail.

    Raises:
        ImageError: If a folder contains no images, two results have the same path, or a result would replace an input.
        ValueError: If ``ext`` or ``suffix`` is invalid.
    """
    writable = tuple(dict.fromkeys((*WRITABLE, *FRAME_FORMATS))) if frames else WRITABLE
    extension = None if ext == "auto" else f".{ext.lower().removeprefix('.')}"
    if extension not in (None, *writable):
        if extension in FORMATS:
            raise ValueError(f"ext {ext!r} is not available: {HEIF_MISSING}")
        raise ValueError(f"ext must be one of auto, {', '.join(known[1:] for known in writable)}, got {ext!r}")
    if os.path.basename(suffix) != suffix:
        raise ValueError(f"suffix must not contain a path separator, got {suffix!r}")
    folder = None if output is None else Path(output)
    sources: dict[str, Source] = {}
    for source in find_sources(inputs, recursive, exclude=folder):
        sources.setdefault(path_key(source.path), source)
    if output is not None and _is_file(output, inputs, writable):
        target = _output_file(Path(output), len(sources), extension, writable)
        jobs = [Job(source.path, target) for source in sources.values()]
    else:
        jobs = [_job(source, folder, suffix, extension, writable) for source in sources.values()]
    targets = {path_key(job.target) for job in jobs}
    kept = [job for job in jobs if sources[path_key(job.source)].is_explicit or path_key(job.source) not in targets]
    _check_conflicts(kept)
    return kept


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


def _job(source: Source, folder: Path | None, suffix: str, extension: str | None, writable: tuple[str, ...]) -> Job:
    path = source.path
    canonical = ALIASES.get(path.suffix.lower(), path.suffix)
    extension_out = extension or (canonical if canonical.lower() in writable else ".png")
    parent = path.parent if folder is None else folder / source.subfolder
    return Job(path, parent / f"{path.stem}{suffix}{extension_out}", allow_png=extension is None, within=folder)


def _check_conflicts(jobs: list[Job]) -> None:
    sources = {path_key(job.source) for job in jobs}
    targets: dict[str, Job] = {}
    for job in jobs:
        name, key = one_line(job.target), path_key(job.target)
        if key in sources:
            raise ImageError(
                f"{name}: the result of {one_line(job.source)} would replace an input; choose another suffix or folder"
            )
        if conflict := targets.get(key):
            raise ImageError(
                f"{name}: the results of {one_line(conflict.source)} and {one_line(job.source)} have the same path; "
                "use different extensions or folders"
            )
        targets[key] = job
