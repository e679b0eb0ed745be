"""Estimate of a JPEG file's quality."""

from __future__ import annotations

import numpy as np
from PIL import Image

# Quantization table for luma at quality 50: ITU-T T.81, table K.1.
_LUMA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)


def _standard_tables() -> np.ndarray:
    """Return libjpeg's tables for luma at qualities 1 to 100, (100, 8, 8)."""
    quality = np.arange(1, 101)[:, None, None]
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return ((percent * _LUMA + 50) // 100).clip(1, 255)


_TABLES = _standard_tables()
# Tables of photo editors differ at high frequencies, where photographs have little content: Photoshop's lowest quality
# would count as 93 without the weights, and is 44 with them.
_WEIGHTS = 0.5 ** np.add.outer(np.arange(8), np.arange(8))


def estimate_quality(image: Image.Image) -> int | None:
    """Return the quality of a JPEG image opened by Pillow, on libjpeg's scale.

    This is the quality whose standard table for luma is the most similar to the image's, by the sum of the absolute
    differences, weighted by ``2^−(i + j)`` for the frequency (i, j).

    Args:
        image: Image opened by Pillow, not necessarily decoded.

    Returns:
        The quality, 1 to 100, exact for the standard tables; None without a quantization table.
    """
    tables = getattr(image, "quantization", None)
    layers = getattr(image, "layer", None)
    if not tables or not layers or len(table := tables.get(layers[0][3], ())) != _LUMA.size:
        return None
    errors = np.abs(_TABLES - np.reshape(table, _LUMA.shape)) * _WEIGHTS
    return 1 + int(errors.sum((1, 2)).argmin())
