"""Expand input paths, folders and glob patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ImageError, error_reason, one_line
from ..images import READABLE


@dataclass(frozen=True)
class Source:
    """An input file.

    Attributes:
        path: The file.
        is_explicit: Whether the input named this file, not a folder or pattern.
        subfolder: Folder of the file, relative to the input folder.
    """

    path: Path
    is_explicit: bool = False
    subfolder: Path = Path()


def find_sources(
    inputs: Sequence[str | os.PathLike], recursive: bool = True, exclude: Path | None = None
) -> Iterator[Source]:
    """Yield the input files, those of a folder or pattern sorted by name.

    Args:
        inputs: Files, folders and patterns, see ``plan_jobs``. Missing files are yielded too.
        recursive: Include subfolders.
        exclude: Folder to skip.

    Raises:
        ImageError: If a folder cannot be listed or contains no images.
    """
    for item in inputs:
        path = Path(item)
        sources: list[Source] = []
        if path.is_dir():
            sources = list(_walk(path, recursive, exclude))
            if not sources:
                raise ImageError(f"{one_line(path)}: the folder contains no images")
        elif not path.exists() and any(character in str(path) for character in "*?["):
            files = map(Path, sorted(glob.glob(str(path), recursive=True)))
            sources = [
                Source(file, subfolder=_relative_to_pattern(file.parent, path)) for file in files if _is_image(file)
            ]
        yield from sources or [Source(path, is_explicit=True)]


def path_key(path: Path) -> str:
    """Return a key that is equal for all paths of one file."""
    return os.path.normcase(os.path.realpath(path))


def _walk(top: Path, recursive: bool, exclude: Path | None) -> Iterator[Source]:
    excluded = None if exclude is None or path_key(exclude) == path_key(top) else path_key(exclude)

    def fail(error: OSError) -> None:
        raise ImageError(f"{one_line(error.filename)}: cannot be listed ({error_reason(error)})") from None

    for folder, folders, names in os.walk(top, onerror=fail):
        parent = Path(folder)
        folders[:] = [
            name
            for name in sorted(folders)
            if recursive and not name.startswith(".") and not (excluded and path_key(parent / name) == excluded)
        ]
        for name in sorted(names):
            if not name.startswith(".") and _is_image(parent / name):
                yield Source(parent / name, subfolder=parent.relative_to(top))


def _relative_to_pattern(folder: Path, pattern: Path) -> Path:
    """Return a folder relative to the part of the pattern before the first wildcard."""
    parts = pattern.parts[:-1]
    fixed = next((i for i, part in enumerate(parts) if any(character in part for character in "*?[")), len(parts))
    return folder.relative_to(Path(*parts[:fixed]))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in READABLE and path.is_file()
