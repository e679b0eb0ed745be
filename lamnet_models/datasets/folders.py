"""Cached folder listings."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from ..images import READABLE


@lru_cache(maxsize=4096)
def _listing(folder: Path, _modified: int) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the subfolders and image files of a folder, sorted by name, without hidden ones."""
    with os.scandir(folder) as entries:
        visible = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    folders = tuple(folder / e.name for e in visible if e.is_dir())
    images = tuple(folder / e.name for e in visible if e.is_file() and os.path.splitext(e.name)[1].lower() in READABLE)
    return folders, images


def _list(folder: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    try:
        return _listing(folder, folder.stat().st_mtime_ns)
    except OSError:  # missing or unreadable
        return (), ()


def sub_folders(folder: Path) -> tuple[Path, ...]:
    """Return the direct subfolders of a folder, sorted by name; empty if it cannot be read."""
    return _list(folder)[0]


def images_in(folder: Path) -> tuple[Path, ...]:
    """Return the image files directly in a folder, sorted by name; empty if it cannot be read."""
    return _list(folder)[1]


def has_images(folder: Path) -> bool:
    """Return whether a folder directly contains image files."""
    return bool(images_in(folder))


def describe_folder(folder: Path, limit: int = 6) -> str:
    """Return a short description of a folder's contents."""
    if not folder.is_dir():
        return "no such folder" if not folder.exists() else "not a folder"
    folders, images = _list(folder)
    names = [f"{path.name}/" for path in folders[:limit]] + (["…"] if len(folders) > limit else [])
    if images:
        names.append(f"{len(images)} images")
    return ", ".join(names) or "neither folders nor images"
