"""Which files are enlarged, and what the results are called."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ImageError
from ..images import WRITABLE, heif
from ..images.formats import ALIASES, FORMATS, FRAME_FORMATS
from ..images.messages import one_line
from .sources import Source, find_sources, path_key


@dataclass(frozen=True)
class Job:
    """One file to enlarge.

    Attributes:
        source: The image.
        target: Where the larger one goes.
        allow_png: Whether nobody asked for the target's format, so that it may become PNG where the format cannot hold
            the result.
        within: The folder that the target must not leave, wherever links in it lead; None for any place.
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
    """Plans which file becomes which; no file is opened.

    Args:
        inputs: Files, folders, of which all images are taken, and patterns such as ``"photos/*.jpg"`` or
            ``"photos/**/*.png"``. Of folders and patterns, files that the plan itself would write are left out, and so
            is a folder ``output`` within one of the inputs: they are the results of an earlier run. Hidden files and
            folders are left out, and links to folders are not followed.
        output: A folder, which need not exist, and which gets the same folders within as the input had; or for a single
            input file a file, told by an extension that can be written. None puts each result beside its source.
        suffix: What names get before the extension, unless ``output`` is a file.
        ext: Extension of the results, such as ``"png"``. ``"auto"`` keeps the source's, but takes png where that cannot
            be written (GIF) or turns out unable to hold the result (transparency in a BMP, a side too long for WebP).
        recursive: Whether to take the images of folders within folders too.
        frames: Whether images of several frames are enlarged, so that GIF files stay such.

    Returns:
        The jobs, in the order of the inputs; files of a folder or pattern in that of their names. A file that is not
        there is a job, which will fail.

    Raises:
        ImageError: If a folder holds no images, two results would be the same file, or a result would replace an input.
        ValueError: If ``ext`` or ``suffix`` is unusable.
    """
    writable = tuple(dict.fromkeys((*WRITABLE, *FRAME_FORMATS))) if frames else WRITABLE
    extension = None if ext == "auto" else f".{ext.lower().removeprefix('.')}"
    if extension not in (None, *writable):
        if extension in FORMATS:
            raise ValueError(f"ext is {ext!r}, but {heif.MISSING}")
        raise ValueError(f"ext is {ext!r}, but it must be one of auto, {', '.join(known[1:] for known in writable)}")
    if os.path.basename(suffix) != suffix:
        raise ValueError(f"suffix is {suffix!r}, but it is a part of a name and must not hold a path")
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
    # Folders may have dots in their names, but what looks like the name of one file gets no folder made.
    return path.suffix.lower() in writable or (len(inputs) == 1 and Path(inputs[0]).is_file())


def _output_file(output: Path, sources: int, extension: str | None, writable: tuple[str, ...]) -> Path:
    name = one_line(output)
    if output.suffix.lower() not in writable:
        raise ImageError(f"{name}: no known format; the extension must be one of {', '.join(writable)}")
    if sources > 1:
        raise ImageError(f"{name}: one file cannot take {sources} results; name a folder")
    if extension not in (None, output.suffix.lower()):
        raise ImageError(f"{name}: its extension is not {extension}, which was asked for too")
    return output


def _job(source: Source, folder: Path | None, suffix: str, extension: str | None, writable: tuple[str, ...]) -> Job:
    path = source.path
    usual = ALIASES.get(path.suffix.lower(), path.suffix)
    chosen = extension or (usual if usual.lower() in writable else ".png")
    place = path.parent if folder is None else folder / source.subfolder
    return Job(path, place / f"{path.stem}{suffix}{chosen}", allow_png=extension is None, within=folder)


def _check_conflicts(jobs: list[Job]) -> None:
    sources = {path_key(job.source) for job in jobs}
    targets: dict[str, Job] = {}
    for job in jobs:
        name, key = one_line(job.target), path_key(job.target)
        if key in sources:
            raise ImageError(
                f"{name}: the result of {one_line(job.source)} would replace an input; choose another name"
            )
        if other := targets.get(key):
            both = f"{one_line(other.source)} and {one_line(job.source)}"
            raise ImageError(
                f"{name}: the results of both {both} would go there; keep their extensions or folders apart"
            )
        targets[key] = job
