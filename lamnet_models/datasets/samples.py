"""Sample photographs bundled with scikit-image."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import skimage.data

from ..errors import ImageError
from ..images import read_rgb
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
    """Return the path of a sample photograph."""
    return Path(skimage.data.__file__).parent / _FILES[name]


def sample_pairs() -> tuple[Pair, ...]:
    """Return the sample photographs as dataset pairs, without LR files."""
    return tuple(Pair(name, sample_path(name), None) for name in SAMPLES)


def read_photo(photo: str | os.PathLike) -> np.ndarray:
    """Read a sample photograph by name, or an image file.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: If the file does not exist or cannot be read.
    """
    if photo in SAMPLES:
        photo = sample_path(photo)
    elif not Path(photo).exists():
        raise ImageError(f"{photo}: no such file, and not a sample; samples are {', '.join(SAMPLES)}")
    return read_rgb(photo)
