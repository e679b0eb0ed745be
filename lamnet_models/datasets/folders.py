"""What lies in a folder."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from ..images import READABLE


@lru_cache(maxsize=4096)
def _listing(folder: Path, _modified: int) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Returns a folder's sub-folders and image files, hidden ones left out, in the order of their names."""
    with os.scandir(folder) as entries:
        visible = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    folders = tuple(folder / e.name for e in visible if e.is_dir())
    images = tuple(folder / e.name for e in visible if e.is_file() and os.path.splitext(e.name)[1].lower() in READABLE)
    return folders, images


def _list(folder: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    try:
        return _listing(folder, folder.stat().st_mtime_ns)
    except OSError:  # not ours to read, or gone
        return (), ()


def sub_folders(folder: Path) -> tuple[Path, ...]:
    """Returns the folders that lie directly in a folder, in the order of their names; none where it cannot be read."""
    return _list(folder)[0]


def images_in(folder: Path) -> tuple[Path, ...]:
    """Returns the image files that lie directly in a folder."""
    return _list(folder)[1]


def has_images(folder: Path) -> bool:
    """Returns whether image files lie directly in a folder."""
    return bool(images_in(folder))


def describe_folder(folder: Path, most: int = 6) -> str:
    """Returns what lies in a folder, for a person to read."""
    if not folder.is_dir():
        return "no such folder" if not folder.exists() else "not a folder"
    folders, images = _list(folder)
    names = [f"{path.name}/" for path in folders[:most]] + (["…"] if len(folders) > most else [])
    if images:
        names.append(f"{len(images)} images")
    return ", ".join(names) or "neither folders nor images"
