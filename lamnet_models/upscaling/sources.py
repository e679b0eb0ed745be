"""Which files somebody means who names files, folders and patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ImageError
from ..images import READABLE
from ..images.messages import one_line, reason


@dataclass(frozen=True)
class Source:
    """A file to read.

    Attributes:
        path: The file.
        is_explicit: Whether it was named itself.
        subfolder: The folder that it was found in, within the folder that was named.
    """

    path: Path
    is_explicit: bool = False
    subfolder: Path = Path()


def find_sources(
    inputs: Sequence[str | os.PathLike], recursive: bool = True, exclude: Path | None = None
) -> Iterator[Source]:
    """Yields the files, those of a folder or pattern in the order of their names.

    Args:
        inputs: Files, folders and patterns, see ``plan_jobs``. A file that is not there is yielded all the same.
        recursive: Whether to look into folders within folders.
        exclude: A folder not to look into.

    Raises:
        ImageError: If a folder cannot be listed or holds no images.
    """
    for item in inputs:
        path = Path(item)
        found: list[Source] = []
        if path.is_dir():
            found = list(_walk(path, recursive, exclude))
            if not found:
                raise ImageError(f"{one_line(path)}: there is no image in this folder")
        elif not path.exists() and any(character in str(path) for character in "*?["):
            files = map(Path, sorted(glob.glob(str(path), recursive=True)))
            found = [
                Source(file, subfolder=_relative_to_pattern(file.parent, path)) for file in files if _is_image(file)
            ]
        yield from found or [Source(path, is_explicit=True)]


def path_key(path: Path) -> str:
    """Returns what two paths of one file have in common."""
    return os.path.normcase(os.path.realpath(path))


def _walk(top: Path, recursive: bool, exclude: Path | None) -> Iterator[Source]:
    avoided = None if exclude is None or path_key(exclude) == path_key(top) else path_key(exclude)

    def fail(error: OSError) -> None:
        raise ImageError(f"{one_line(error.filename)}: cannot be listed ({reason(error)})") from None

    for folder, folders, names in os.walk(top, onerror=fail):
        here = Path(folder)
        folders[:] = [
            name
            for name in sorted(folders)
            if recursive and not name.startswith(".") and not (avoided and path_key(here / name) == avoided)
        ]
        for name in sorted(names):
            if not name.startswith(".") and _is_image(here / name):
                yield Source(here / name, subfolder=here.relative_to(top))


def _relative_to_pattern(folder: Path, pattern: Path) -> Path:
    """Returns a folder as seen from the last one of a pattern that is the same for all that it matches."""
    parts = pattern.parts[:-1]
    fixed = next((i for i, part in enumerate(parts) if any(character in part for character in "*?[")), len(parts))
    return folder.relative_to(Path(*parts[:fixed]))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in READABLE and path.is_file()
