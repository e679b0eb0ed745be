"""Detection of the folder layouts of published HR/LR datasets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .folders import has_images, sub_folders


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
