"""How sets of images are laid out in folders: recognised by looking.

Each tool of the field has its own way to name folders and files of the large images (HR) and their reductions (LR).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .folders import has_images, sub_folders


@dataclass(frozen=True)
class Layout:
    """Where a set's images lie under a folder.

    In the patterns, ``{set}`` stands for the set's name and ``{scale}`` for the factor of reduction; letters match
    without regard to case.

    Attributes:
        name: Whose layout it is.
        hr: The folder of the large images.
        lr: The folder of their reductions, or None where the layout has none.
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
"""The layouts, in the order they are looked for."""

DEPTH = 3
"""Levels of sub-folders that are looked into: of ``data/Set5/data/Set5_HR``, the three above the last."""

ANY_NAME = ".+"
"""Pattern of a set's name where it does not matter."""


@dataclass(frozen=True)
class Match:
    """A set found in a folder.

    Attributes:
        layout: How it is laid out.
        name: The name that the folders give it.
        hr: The folder of the large images.
        lr: The folder of the reductions; None where there are none.
    """

    layout: Layout
    name: str
    hr: Path
    lr: Path | None


def find_matches(home: Path, set_pattern: str, scale: int, depth: int = DEPTH) -> list[Match]:
    """Returns the sets of a name that lie in a folder or a few levels below, those with reductions first.

    Args:
        home: The folder.
        set_pattern: Regular expression for the set's name.
        scale: Factor of reduction.
        depth: Levels of sub-folders to look into as if they were the folder.
    """
    found: dict[Path, Match] = {}
    folders = [home]
    for _ in range(depth + 1):
        for folder in folders:
            for layout in LAYOUTS:
                for match in _matches(folder, layout, set_pattern, scale):
                    if match.hr not in found or (match.lr and not found[match.hr].lr):
                        found[match.hr] = match
        if any(
            match.lr for match in found.values()
        ):  # what lies deeper, perhaps many thousand folders, does not matter
            break
        folders = [child for folder in folders for child in sub_folders(folder)]
    return sorted(found.values(), key=lambda match: match.lr is None)


def describe_layouts(set_name: str, scale: int) -> str:
    """Returns the folders that a set is looked for in, for a person to read."""
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
    """Returns the folders below another that match a layout's pattern, with the set's name in each."""
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
