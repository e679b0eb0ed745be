"""libvips input and output of 16-bit PNG and TIFF, and of large images."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import pyvips

from .picture import Picture

_UNKNOWN_DPI = 72.0  # default of readers; libvips always writes a resolution


def open_image(file: io.BufferedIOBase, page: int | None = None) -> pyvips.Image:
    """Open a file for sequential access, without decoding its pixels.

    The file is opened by descriptor because libvips parses brackets in names as options, and by a separate descriptor
    because reading moves its position.

    Args:
        file: The file.
        page: Index of the page; None for files without pages.
    """
    descriptor = os.open(file.name, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        source = pyvips.Source.new_from_descriptor(descriptor)  # duplicates the descriptor
    finally:
        os.close(descriptor)
    options = {} if page is None else {"page": page}
    return pyvips.Image.new_from_source(source, "", access="sequential", fail_on="error", **options)


def save_image(file: io.BufferedIOBase, picture: Picture, extension: str, quality: int = 95) -> None:
    """Write a picture as PNG, TIFF or JPEG, row by row, without copying its pixels."""
    across, down = picture.dpi or (_UNKNOWN_DPI, _UNKNOWN_DPI)
    image = from_pixels(picture.pixels, picture.icc_profile)
    image = image.copy(xres=across / 25.4, yres=down / 25.4)  # pixels per millimeter
    for name, data in (("exif-data", picture.exif), ("xmp-data", picture.xmp)):
        if data:
            image.set_type(pyvips.GValue.blob_type, name, data)
    options: dict[str, Any] = {"filter": "all"}  # PNG: adaptive filters, the default of encoders
    if extension in (".jpg", ".jpeg"):
        options = {"Q": quality, "subsample_mode": "off"}
    elif extension != ".png":
        options = {"compression": "deflate", "predictor": "horizontal", "bigtiff": picture.pixels.nbytes > 2**31}
    keep = "icc|exif|xmp" if picture.exif else "icc|xmp"  # otherwise libvips generates EXIF data
    target = pyvips.Target.new_to_descriptor(file.fileno())
    image.write_to_target(target, extension, keep=keep, **options)


def from_pixels(pixels: np.ndarray, icc_profile: bytes | None = None, cmyk: bool = False) -> pyvips.Image:
    """Return pixels (H, W, C) as a libvips image, gray, RGB or CMYK, with or without alpha."""
    interpretations = ("b-w", "grey16") if pixels.shape[2] < 3 else ("srgb", "rgb16")
    interpretation = "cmyk" if cmyk else interpretations[pixels.dtype.itemsize - 1]
    image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels), interpretation=interpretation)
    if icc_profile:
        image = image.copy()
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc_profile)
    return image


def to_pixels(image: pyvips.Image) -> np.ndarray:
    """Return an image's pixels, (H, W, C)."""
    pixels = image.numpy()
    return pixels if pixels.ndim == 3 else pixels[..., None]


def get_field(image: pyvips.Image, name: str, default: Any = None) -> Any:
    """Return a metadata field of an image, or ``default``."""
    return image.get(name) if name in image.get_fields() else default
