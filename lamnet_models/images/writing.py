"""Image files out."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pyvips
from PIL import Image

from ..errors import ImageError
from ..files import atomic_path
from . import vips
from .colour import to_srgb
from .formats import FORMATS, refusal
from .messages import one_line, reason
from .picture import Picture
from .pillow import to_pillow

_BY_ROWS = ("PNG", "TIFF", "JPEG")
LARGE = 2**25
"""Bytes of pixels beyond which formats that allow it are written by rows."""


def writing_memory(extension: str, height: int, width: int) -> int:
    """Returns the bytes of memory that writing a picture takes beside its pixels: none for formats written by rows.

    Others are encoded from Pillow's copy of 4 bytes a pixel; WebP's encoder makes two of its own.
    """
    return 0 if FORMATS[extension.lower()].name in _BY_ROWS else 12 * height * width


def write_image(path: str | os.PathLike, picture: Picture, *, quality: int = 95) -> None:
    """Writes a picture in the format that the extension names: the whole file or none.

    Pixels, ICC profile and resolution of PNG and TIFF, which are compressed without loss, come back as they are; WebP
    and JPEG keep profile and resolution. Colours are converted to sRGB for BMP, which has no room for a profile, and so
    is grey with a profile for WebP, which has no grey.

    Args:
        path: The file; an existing one is replaced. Its folder must exist.
        picture: What to write.
        quality: 1 to 100, of JPEG and WebP.

    Raises:
        ImageError: If the format cannot hold the picture, or the file cannot be written.
        ValueError: If ``quality`` is out of its range.
    """
    path = Path(path)
    name = one_line(path)
    if not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality!r}, but it must be an integer from 1 to 100")
    if why := refusal(path.suffix, *picture.pixels.shape, picture.pixels.dtype):
        raise ImageError(f"{name}: {why}")
    try:
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            _write(file, path.suffix.lower(), picture, quality)
    except (OSError, ValueError, pyvips.Error) as error:
        raise ImageError(f"{name}: cannot be written ({reason(error)})") from None


def _write(file: io.BufferedWriter, extension: str, picture: Picture, quality: int) -> None:
    form = FORMATS[extension].name
    # Pillow would first copy all pixels, which may lie in a file because memory is short.
    if picture.pixels.dtype == np.uint16 or (form in _BY_ROWS and picture.pixels.nbytes > LARGE):
        vips.save_image(file, picture.pixels, extension, picture.icc_profile, picture.dpi, quality)
        return
    if picture.icc_profile and (form == "BMP" or (form == "WEBP" and picture.channels < 3)):
        pixels, profile = to_srgb(picture.pixels, picture.icc_profile) or (picture.pixels, None)
        picture = Picture(pixels, profile, picture.dpi)
    options: dict[str, object] = {}
    if form == "JPEG":
        options = {"quality": quality, "subsampling": 0}  # colours as fine as the network made them
    elif form == "WEBP":
        options = {"quality": quality, "exif": _resolution(picture)}
    elif form == "TIFF":
        predictor, horizontal = 317, 2
        options = {
            "compression": "tiff_adobe_deflate",
            "tiffinfo": {predictor: horizontal},
            "big_tiff": picture.pixels.nbytes > 2**31,
        }
    if picture.icc_profile:
        options["icc_profile"] = picture.icc_profile
    if picture.dpi:
        options["dpi"] = picture.dpi
    to_pillow(picture).save(file, form, **options)


def _resolution(picture: Picture) -> Image.Exif:
    """Returns the resolution as EXIF data, where WebP keeps it."""
    exif = Image.Exif()
    if picture.dpi:
        exif[0x011A], exif[0x011B], exif[0x0128] = *picture.dpi, 2  # horizontally, vertically, per inch
    return exif
