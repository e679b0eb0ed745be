"""PNG and TIFF through libvips, which keeps 16 bits a channel where Pillow keeps eight."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import pyvips

from .picture import Picture

_UNKNOWN_DPI = 72.0  # what readers take where nothing is said; libvips always writes a resolution


def open_image(file: io.BufferedIOBase, page: int | None = None) -> pyvips.Image:
    """Opens a file without decoding its pixels, which are to be read once, from top to bottom.

    Goes by descriptor, as libvips would take brackets in a name for options; by one of its own, as reading moves it.

    Args:
        file: The file.
        page: Which of several pictures; None for files that have no pages.
    """
    descriptor = os.open(file.name, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        source = pyvips.Source.new_from_descriptor(descriptor)  # which duplicates it
    finally:
        os.close(descriptor)
    options = {} if page is None else {"page": page}
    return pyvips.Image.new_from_source(source, "", access="sequential", fail_on="error", **options)


def save_image(file: io.BufferedIOBase, picture: Picture, extension: str, quality: int = 95) -> None:
    """Writes a picture as a PNG, TIFF or JPEG, row by row: no copy of its pixels is made."""
    across, down = picture.dpi or (_UNKNOWN_DPI, _UNKNOWN_DPI)
    image = from_pixels(picture.pixels, picture.icc_profile)
    image = image.copy(xres=across / 25.4, yres=down / 25.4)  # pixels per millimetre
    for name, data in (("exif-data", picture.exif), ("xmp-data", picture.xmp)):
        if data:
            image.set_type(pyvips.GValue.blob_type, name, data)
    options: dict[str, Any] = {"filter": "all"}  # PNG: the best for each row, as every encoder does by default
    if extension in (".jpg", ".jpeg"):
        options = {"Q": quality, "subsample_mode": "off"}
    elif extension != ".png":
        options = {"compression": "deflate", "predictor": "horizontal", "bigtiff": picture.pixels.nbytes > 2**31}
    keep = "icc|exif|xmp" if picture.exif else "icc|xmp"  # libvips would make EXIF data of its own
    target = pyvips.Target.new_to_descriptor(file.fileno())
    image.write_to_target(target, extension, keep=keep, **options)


def from_pixels(pixels: np.ndarray, icc_profile: bytes | None = None, cmyk: bool = False) -> pyvips.Image:
    """Returns pixels (H, W, C) as a libvips image, grey, RGB or CMYK, with or without alpha."""
    kinds = ("b-w", "grey16") if pixels.shape[2] < 3 else ("srgb", "rgb16")
    kind = "cmyk" if cmyk else kinds[pixels.dtype.itemsize - 1]
    image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels), interpretation=kind)
    if icc_profile:
        image = image.copy()
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc_profile)
    return image


def to_pixels(image: pyvips.Image) -> np.ndarray:
    """Returns an image's pixels, (H, W, C)."""
    pixels = image.numpy()
    return pixels if pixels.ndim == 3 else pixels[..., None]


def get_field(image: pyvips.Image, name: str, default: Any = None) -> Any:
    """Returns one of the facts that came with an image, or ``default``."""
    return image.get(name) if name in image.get_fields() else default
