"""Image file writing."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyvips
from PIL import PngImagePlugin

from ..errors import ImageError
from ..files import atomic_path
from . import heif, vips
from .colour import to_srgb
from .formats import FORMATS, unsupported_reason
from .messages import one_line, reason
from .metadata import exif_for_size
from .picture import Picture
from .pillow import to_pillow
from .tiff_tags import add_exif

_WITHOUT_GRAY = ("WEBP", "AVIF", "HEIF")
_PREDICTOR, _HORIZONTAL, _XMP = 317, 2, 700  # TIFF tags and values
_MAX_JPEG_XMP = 65_000  # bytes

_STREAMED = ("PNG", "TIFF", "JPEG")
STREAMING_THRESHOLD = 2**25
"""Bytes of pixels above which formats that support it are written row by row."""


def encoder_memory(extension: str, height: int, width: int) -> int:
    """Return the additional memory in bytes to write an image; 0 for row-wise formats.

    Others are encoded from Pillow's copy of 4 bytes per pixel; WebP's encoder makes two more.
    """
    return 0 if FORMATS[extension.lower()].name in _STREAMED else 12 * height * width


def write_image(path: str | os.PathLike, picture: Picture, *, quality: int = 95) -> None:
    """Write a picture atomically, in the format given by the extension.

    PNG and TIFF are lossless and keep ICC profile and resolution; WebP, JPEG, AVIF and HEIC keep the profile and,
    except AVIF and HEIC, the resolution. All but BMP keep EXIF data and XMP. Converted to sRGB are colors for BMP,
    which has no profile, and gray with a profile for WebP, AVIF and HEIC, which have no gray mode.

    Args:
        path: The file; an existing one is replaced. Its folder must exist.
        picture: Picture to write.
        quality: Quality of JPEG, WebP, AVIF and HEIC, 1 to 100.

    Raises:
        ImageError: If the format does not support the picture, or the file cannot be written.
        ValueError: If ``quality`` is out of range.
    """
    path = Path(path)
    name = one_line(path)
    if not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ValueError(f"quality must be an integer from 1 to 100, got {quality!r}")
    if problem := unsupported_reason(path.suffix, *picture.pixels.shape, picture.pixels.dtype):
        raise ImageError(f"{name}: {problem}")
    try:
        with atomic_path(path) as temporary, open(temporary, "w+b") as file:
            _write(file, path.suffix.lower(), picture, quality)
            if FORMATS[path.suffix.lower()].name == "TIFF" and picture.exif:
                add_exif(file, picture.exif, picture.width, picture.height)
    except (OSError, ValueError, RuntimeError, pyvips.Error) as error:
        raise ImageError(f"{name}: cannot write ({reason(error)})") from None


def _write(file: io.BufferedWriter, extension: str, picture: Picture, quality: int) -> None:
    form = FORMATS[extension].name
    # Pillow copies all pixels first, which may be memory-mapped because memory is short.
    if picture.pixels.dtype == np.uint16 or (form in _STREAMED and picture.pixels.nbytes > STREAMING_THRESHOLD):
        vips.save_image(file, picture, extension, quality)
        return
    if picture.icc_profile and (form == "BMP" or (form in _WITHOUT_GRAY and picture.channels < 3)):
        pixels, profile = to_srgb(picture.pixels, picture.icc_profile) or (picture.pixels, None)
        picture = replace(picture, pixels=pixels, icc_profile=profile)
    height, width = picture.pixels.shape[:2]
    options: dict[str, object] = {}
    exif = exif_for_size(picture.exif, width, height)
    if form == "JPEG":
        options = {"quality": quality, "subsampling": 0}  # no chroma subsampling
    elif form == "AVIF":
        options = {"quality": quality, "subsampling": "4:4:4"}
    elif form == "HEIF":
        heif.register()
        options = {"quality": quality, "chroma": 444}
    elif form == "WEBP":
        options = {"quality": quality}
        exif = exif_for_size(picture.exif, width, height, picture.dpi)  # WebP stores the resolution in EXIF
    elif form == "TIFF":
        options = {
            "compression": "tiff_adobe_deflate",
            "tiffinfo": {_PREDICTOR: _HORIZONTAL} | ({_XMP: picture.xmp} if picture.xmp else {}),
            "big_tiff": picture.pixels.nbytes > 2**31,
        }
    if exif and form not in ("BMP", "TIFF"):
        options["exif"] = exif
    if picture.xmp and form == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", picture.xmp.decode(errors="replace"))
    elif picture.xmp and form != "TIFF" and (form != "JPEG" or len(picture.xmp) < _MAX_JPEG_XMP):
        options["xmp"] = picture.xmp
    if picture.icc_profile:
        options["icc_profile"] = picture.icc_profile
    if picture.dpi:
        options["dpi"] = picture.dpi
    to_pillow(picture).save(file, form, **options)
