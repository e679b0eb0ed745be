"""Folder layouts of published HR/LR datasets: detection, and pairing of files."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..errors import quantity
from ..image_io import READABLE


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
        names.append(quantity(len(images), "image"))
    return ", ".join(names) or "neither folders nor images"


@dataclass(frozen=True)
class Layout:
    """Folder patterns of a dataset.

    In the patterns, ``{set}`` is the dataset's name and ``{scale}`` the scale factor; matching ignores case.

    Attributes:
        name: Name of the layout.
        hr: Folder of the HR images.
        lr: Folder of the LR images, None if the layout has none.
    """

    name: str
    hr: str
    lr: str | None


LAYOUTS = (
    Layout("SelfExSR", "{set}/image_SRF_{scale}", "{set}/image_SRF_{scale}"),
    Layout("EDSR", "{set}/HR", "{set}/LR_bicubic/X{scale}"),
    Layout("RCAN", "HR/{set}/x{scale}", "LR/LRBI/{set}/x{scale}"),
    Layout("HAT", "{set}/GTmod{scale}", "{set}/LRbicx{scale}"),
    Layout("BasicSR", "{set}/GTmod12", "{set}/LRbicx{scale}"),
    Layout("DIV2K", "{set}_HR", "{set}_LR_bicubic/X{scale}"),
    Layout("Hugging Face", "{set}_HR", "{set}_LR_x{scale}"),
    Layout("folder", "{set}", None),
)
"""Known layouts, in search order."""

DEPTH = 3
"""Levels of subfolders searched: in ``data/Set5/data/Set5_HR``, the three above the last."""

ANY_NAME = ".+"
"""Pattern that matches any dataset name."""


@dataclass(frozen=True)
class Match:
    """A dataset found in a folder.

    Attributes:
        layout: Its layout.
        name: Name taken from the folders.
        hr: Folder of the HR images.
        lr: Folder of the LR images, None if missing.
    """

    layout: Layout
    name: str
    hr: Path
    lr: Path | None


def find_matches(home: Path, set_pattern: str, scale: int, depth: int = DEPTH) -> list[Match]:
    """Return the datasets with a name in a folder or its subfolders, those with LR images first.

    Args:
        home: The folder.
        set_pattern: Regular expression for the dataset's name.
        scale: Scale factor.
        depth: Levels of subfolders to search.
    """
    matches: dict[Path, Match] = {}
    folders = [home]
    for _ in range(depth + 1):
        for folder in folders:
            for layout in LAYOUTS:
                for match in _matches(folder, layout, set_pattern, scale):
                    if match.hr not in matches or (match.lr and not matches[match.hr].lr):
                        matches[match.hr] = match
        if any(match.lr for match in matches.values()):  # skip deeper levels, which may be thousands of folders
            break
        folders = [child for folder in folders for child in sub_folders(folder)]
    return sorted(matches.values(), key=lambda match: match.lr is None)


def describe_layouts(set_name: str, scale: int) -> str:
    """Return a description of the HR folders searched for a dataset."""
    return ", ".join(dict.fromkeys(layout.hr.format(set=set_name, scale=scale) for layout in LAYOUTS))


def _matches(home: Path, layout: Layout, set_pattern: str, scale: int) -> list[Match]:
    matches = []
    for hr, name in _walk(home, layout.hr, set_pattern, scale):
        if not has_images(hr):
            continue
        lrs = _walk(home, layout.lr, re.escape(name), scale) if layout.lr else []
        matches.append(Match(layout, name, hr, next((lr for lr, _ in lrs if has_images(lr)), None)))
    return matches


def _walk(home: Path, pattern: str, set_pattern: str, scale: int) -> list[tuple[Path, str]]:
    """Return (folder, dataset name) pairs below ``home`` that match a layout's pattern."""
    reached = [(home, "")]
    for part in pattern.split("/"):
        regex = re.compile(part.format(set=f"(?P<set>{set_pattern})", scale=scale), re.IGNORECASE)
        reached = [
            (child, match["set"] if "{set}" in part else name)
            for folder, name in reached
            for child in sub_folders(folder)
            if (match := regex.fullmatch(child.name))
        ]
    return reached


_LR_ENDINGS = ("", "x{s}", "_x{s}", "_LRBI_x{s}", "_LR_x{s}", "_LR", "_SRF_{s}_LR", "_bicubic_x{s}")
_HR_ENDING = r"(_SRF_{s})?_HR(_x{s})?$"


@dataclass(frozen=True)
class Pair:
    """An HR image and its LR image.

    Attributes:
        name: Name without the layout's suffixes.
        hr: HR file.
        lr: LR file, None if the LR image is synthesized.
    """

    name: str
    hr: Path
    lr: Path | None


def pair_images(match: Match, scale: int) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """Return the pairs of a dataset, and one line per image without a partner.

    Args:
        match: Location of the dataset.
        scale: Scale factor.
    """
    hr_files, lr_files = images_in(match.hr), images_in(match.lr) if match.lr else ()
    if match.hr == match.lr:  # one folder, distinguished by suffix
        lr_files = tuple(file for file in lr_files if file.stem.endswith("_LR"))
        hr_files = tuple(file for file in hr_files if file.stem.endswith("_HR"))
    by_stem = {file.stem.casefold(): file for file in lr_files}
    ending = _HR_ENDING.format(s=scale)
    pairs, problems = [], []
    for file in hr_files:
        name = re.sub(ending, "", file.stem) or file.stem
        candidates = [f"{base}{end.format(s=scale)}" for base in (name, file.stem) for end in _LR_ENDINGS]
        partner = next((by_stem.pop(c.casefold()) for c in candidates if c.casefold() in by_stem), None)
        if match.lr and not partner:
            problems.append(f"{file}: LR image missing in {match.lr} (such as {candidates[1]}.png)")
        else:
            pairs.append(Pair(name, file, partner))
    problems += [f"{file}: HR image missing in {match.hr}" for file in by_stem.values()]
    counts = Counter(pair.name for pair in pairs)
    unique = tuple(Pair(p.hr.name, p.hr, p.lr) if counts[p.name] > 1 else p for p in pairs)
    return unique, tuple(problems)
