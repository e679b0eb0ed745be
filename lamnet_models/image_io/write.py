"""Image file writing."""

from __future__ import annotations

import io
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from PIL import Image, PngImagePlugin, TiffImagePlugin, TiffTags

from ..errors import ImageError, error_reason, one_line
from ..filesystem import atomic_path
from . import vips
from .formats import FORMATS, register_heif, unsupported_reason
from .picture import EXIF, GPS, Picture, exif_for_size, to_pillow
from .vips import to_srgb

_WITHOUT_GRAY = ("WEBP", "AVIF", "HEIF")
_PREDICTOR, _HORIZONTAL, _XMP = 317, 2, 700  # TIFF tags and values
_MAX_JPEG_XMP = 65_000  # bytes
_TIFF_ENTRY = 12  # bytes
_UNKNOWN_DPI = 72.0  # default of readers; libvips always writes a resolution

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
                _add_tiff_exif(file, picture.exif, picture.width, picture.height)
    except (OSError, ValueError, RuntimeError, pyvips.Error) as error:
        raise ImageError(f"{name}: cannot write ({error_reason(error)})") from None


def _write(file: io.BufferedWriter, extension: str, picture: Picture, quality: int) -> None:
    form = FORMATS[extension].name
    # Pillow copies all pixels first, which may be memory-mapped because memory is short.
    if picture.pixels.dtype == np.uint16 or (form in _STREAMED and picture.pixels.nbytes > STREAMING_THRESHOLD):
        _write_with_vips(file, picture, extension, quality)
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
        register_heif()
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


def _write_with_vips(file: io.BufferedIOBase, picture: Picture, extension: str, quality: int = 95) -> None:
    """Write a picture as PNG, TIFF or JPEG, row by row, without copying its pixels."""
    across, down = picture.dpi or (_UNKNOWN_DPI, _UNKNOWN_DPI)
    image = vips.from_pixels(picture.pixels, picture.icc_profile)
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


def _add_tiff_exif(file: io.BufferedRandom, exif: bytes, width: int, height: int) -> None:
    """Add EXIF data to a TIFF file: append an extended directory that replaces the first one.

    Args:
        file: A single-page file; a BigTIFF is left unchanged.
        exif: From ``descriptive_exif``.
        width: Columns of the image.
        height: Rows of the image.
    """
    file.seek(0)
    if file.read(4) != b"II*\0":
        return
    (start,) = struct.unpack("<I", file.read(4))
    file.seek(start)
    (count,) = struct.unpack("<H", file.read(2))
    entries = dict(_entries_by_tag(file.read(_TIFF_ENTRY * count)))
    (following,) = struct.unpack("<I", file.read(4))
    offset = (file.seek(0, io.SEEK_END) + 1) & ~1
    added = _directory(exif_for_size(exif, width, height)).tobytes(offset)
    (count,) = struct.unpack("<H", added[:2])
    entries |= dict(_entries_by_tag(added[2 : 2 + _TIFF_ENTRY * count]))
    file.seek(offset)
    file.write(added)
    offset = (file.tell() + 1) & ~1
    file.seek(offset)
    body = b"".join(entries[tag] for tag in sorted(entries))
    file.write(struct.pack("<H", len(entries)) + body + struct.pack("<I", following))
    file.seek(4)
    file.write(struct.pack("<I", offset))


def _directory(exif: Image.Exif) -> TiffImagePlugin.ImageFileDirectory_v2:
    directory = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    for tag, value in exif.items():
        if tag not in (EXIF, GPS):
            directory[tag] = value
    for tag in (EXIF, GPS):
        if details := exif.get_ifd(tag):
            directory.tagtype[tag] = TiffTags.LONG
            directory[tag] = dict(details)
    return directory


def _entries_by_tag(entries: bytes) -> list[tuple[int, bytes]]:
    """Return the entries of a directory as (tag, entry) pairs."""
    chunks = [entries[at : at + _TIFF_ENTRY] for at in range(0, len(entries), _TIFF_ENTRY)]
    return [(struct.unpack("<H", chunk[:2])[0], chunk) for chunk in chunks]
