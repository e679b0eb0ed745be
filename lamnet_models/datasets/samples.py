"""Photographs that are always there: scikit-image brings them along."""

from __future__ import annotations

from pathlib import Path

import skimage.data

from .pairs import Pair

_FILES = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "motorcycle": "motorcycle_left.png",
}

SAMPLES = tuple(_FILES)
"""Names of the sample photographs."""


def sample_path(name: str) -> Path:
    """Returns the file of a sample photograph."""
    return Path(skimage.data.__file__).parent / _FILES[name]


def sample_pairs() -> tuple[Pair, ...]:
    """Returns the sample photographs as a set's images."""
    return tuple(Pair(name, sample_path(name), None) for name in SAMPLES)
