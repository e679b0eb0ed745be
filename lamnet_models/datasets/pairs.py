"""The images of a set: each with its reduction, where there is one."""

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
    """One image of a set.

    Attributes:
        name: Its name, without what the layout adds to it.
        hr: File of the large image.
        lr: File of its reduction, or None where that is to be made.
    """

    name: str
    hr: Path
    lr: Path | None


def pair_images(match: Match, scale: int) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """Returns the pairs of a set, and a line for each image that has no partner.

    Args:
        match: Where the set lies.
        scale: Factor of reduction.
    """
    large, small = images_in(match.hr), images_in(match.lr) if match.lr else ()
    if match.hr == match.lr:  # told apart by their names' ends
        small = tuple(file for file in small if file.stem.endswith("_LR"))
        large = tuple(file for file in large if file.stem.endswith("_HR"))
    by_stem = {file.stem.casefold(): file for file in small}
    ending = _HR_ENDING.format(s=scale)
    pairs, problems = [], []
    for file in large:
        name = re.sub(ending, "", file.stem) or file.stem
        candidates = [f"{base}{end.format(s=scale)}" for base in (name, file.stem) for end in _LR_ENDINGS]
        partner = next((by_stem.pop(c.casefold()) for c in candidates if c.casefold() in by_stem), None)
        if match.lr and not partner:
            problems.append(f"{file}: its reduction is missing in {match.lr} (such as {candidates[1]}.png)")
        else:
            pairs.append(Pair(name, file, partner))
    problems += [f"{file}: there is no large image to it in {match.hr}" for file in by_stem.values()]
    names = [pair.name for pair in pairs]
    unique = tuple(Pair(p.hr.name, p.hr, p.lr) if names.count(p.name) > 1 else p for p in pairs)
    return unique, tuple(problems)
