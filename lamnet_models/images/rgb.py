"""Image reading as 8-bit RGB, the input of networks and metrics."""

from __future__ import annotations

import os

import numpy as np

from .reading import read_image


def read_rgb(path: str | os.PathLike) -> np.ndarray:
    """Read an image file as 8-bit RGB; gray is repeated, 16 bits rounded to 8, alpha dropped.

    Args:
        path: The file; see [`read_image`][lamnet_models.images.read_image].

    Returns:
        (H, W, 3) uint8, contiguous.

    Raises:
        ImageError: If the file cannot be read.
    """
    pixels = read_image(path).pixels
    if pixels.dtype == np.uint16:
        pixels = np.round(pixels / 257).astype(np.uint8)
    colors = pixels[..., : pixels.shape[2] - (pixels.shape[2] + 1) % 2]  # drop alpha, the last of 2 or 4 channels
    return np.ascontiguousarray(np.broadcast_to(colors, (*pixels.shape[:2], 3)))
