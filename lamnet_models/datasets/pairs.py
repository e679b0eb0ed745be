"""Pairing of HR and LR files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .folders import images_in
from .layouts import Match

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
    names = [pair.name for pair in pairs]
    unique = tuple(Pair(p.hr.name, p.hr, p.lr) if names.count(p.name) > 1 else p for p in pairs)
    return unique, tuple(problems)
