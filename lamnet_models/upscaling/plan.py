"""Which files are enlarged, and what the results are called."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ImageError
from ..images import READABLE, WRITABLE
from ..images.messages import one_line, reason


@dataclass(frozen=True)
class Job:
    """One file to enlarge.

    Attributes:
        source: The image.
        target: Where the larger one goes.
        any_format: Whether nobody asked for the target's format, so that it may become PNG where the format cannot hold
            the result.
    """

    source: Path
    target: Path
    any_format: bool = False


def plan_jobs(
    inputs: Sequence[str | os.PathLike],
    output: str | os.PathLike | None = None,
    *,
    scale: int,
    suffix: str | None = None,
    ext: str = "auto",
) -> list[Job]:
    """Plans which file becomes which; no file is opened.

    Args:
        inputs: Files, folders, of which all images are taken (but not those of folders within), and patterns such as
            ``"photos/*.jpg"`` or ``"photos/**/*.png"``. Of folders and patterns, files that the plan itself would write
            are left out: they are the results of an earlier run.
        output: A folder, which need not exist; or for a single input file a file, told by an extension that can be
            written. None puts each result beside its source.
        scale: Factor of enlargement.
        suffix: What names get before the extension, unless ``output`` is a file; None is ``_x4`` for a scale of 4.
        ext: Extension of the results, such as ``"png"``. ``"auto"`` keeps the source's, but takes png where that cannot
            be written (GIF) or turns out unable to hold the result (transparency in a BMP, a side too long for WebP).

    Returns:
        The jobs, in the order of the inputs; files of a folder or pattern in that of their names. A file that is not
        there is a job, which will fail.

    Raises:
        ImageError: If a folder holds no images, two results would be the same file, or a result would replace an input.
        ValueError: If ``ext`` or ``suffix`` is unusable.
    """
    extension = None if ext == "auto" else f".{ext.lower().removeprefix('.')}"
    if extension not in (None, *WRITABLE):
        raise ValueError(f"ext is {ext!r}, but it must be one of auto, {', '.join(known[1:] for known in WRITABLE)}")
    suffix = f"_x{scale}" if suffix is None else suffix
    if os.path.basename(suffix) != suffix:
        raise ValueError(f"suffix is {suffix!r}, but it is a part of a name and must not hold a path")
    sources: dict[str, tuple[Path, bool]] = {}
    for path, is_named in _expand(inputs):
        sources.setdefault(path_key(path), (path, is_named))
    if output is not None and _is_file(output, inputs):
        jobs = [Job(path, _output_file(Path(output), len(sources), extension)) for path, _ in sources.values()]
    else:
        folder = None if output is None else Path(output)
        jobs = [_job(path, folder, suffix, extension) for path, _ in sources.values()]
    targets = {path_key(job.target) for job in jobs}
    kept = [job for job in jobs if sources[path_key(job.source)][1] or path_key(job.source) not in targets]
    _check_conflicts(kept)
    return kept


def path_key(path: Path) -> str:
    """Returns what two paths of one file have in common."""
    return os.path.normcase(os.path.realpath(path))


def _expand(inputs: Sequence[str | os.PathLike]) -> Iterator[tuple[Path, bool]]:
    """Yields the files and whether each was named itself."""
    for item in inputs:
        path = Path(item)
        if path.is_dir():
            try:
                found = [file for file in sorted(path.iterdir()) if not file.name.startswith(".") and _is_image(file)]
            except OSError as error:
                raise ImageError(f"{one_line(path)}: cannot be listed ({reason(error)})") from None
            if not found:
                raise ImageError(f"{one_line(path)}: there is no image in this folder")
        elif not path.exists() and any(character in str(path) for character in "*?["):
            found = [file for file in map(Path, sorted(glob.glob(str(path), recursive=True))) if _is_image(file)]
        else:
            found = []
        if found:
            yield from ((file, False) for file in found)
        else:
            yield path, True


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in READABLE and path.is_file()


def _is_file(output: str | os.PathLike, inputs: Sequence[str | os.PathLike]) -> bool:
    path = Path(output)
    if path.is_dir() or os.fspath(output).endswith(("/", os.sep)) or not path.suffix:
        return False
    # Folders may have dots in their names, but what looks like the name of one file gets no folder made.
    return path.suffix.lower() in WRITABLE or (len(inputs) == 1 and Path(inputs[0]).is_file())


def _output_file(output: Path, sources: int, extension: str | None) -> Path:
    name = one_line(output)
    if output.suffix.lower() not in WRITABLE:
        raise ImageError(f"{name}: no known format; the extension must be one of {', '.join(WRITABLE)}")
    if sources > 1:
        raise ImageError(f"{name}: one file cannot take {sources} results; name a folder")
    if extension not in (None, output.suffix.lower()):
        raise ImageError(f"{name}: its extension is not {extension}, which was asked for too")
    return output


def _job(source: Path, folder: Path | None, suffix: str, extension: str | None) -> Job:
    chosen = extension or (source.suffix if source.suffix.lower() in WRITABLE else ".png")
    return Job(source, (folder or source.parent) / f"{source.stem}{suffix}{chosen}", any_format=extension is None)


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
