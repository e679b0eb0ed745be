"""Image file reading."""

from __future__ import annotations

import io
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ..errors import ImageError
from . import heif, png, tiff
from .bmp import read_bmp
from .colour import matching_profile
from .limits import check_file_size, pixel_limit
from .messages import one_line, reason
from .metadata import ORIENTATION, exif_dpi, exif_of, valid_dpi
from .picture import Picture
from .pillow import from_pillow

_PILLOW_FORMATS = ("JPEG", "WEBP", "GIF", "AVIF")
_MAX_PIXELS_PER_BYTE = {"JPEG": 512, "GIF": 2730}  # one bit per 8×8 block; the longest 12-bit LZW string

for _name in ("PIL", "pyvips"):  # keep log messages on damaged files from the terminal
    logging.getLogger(_name).addHandler(logging.NullHandler())

_pillow_lock = threading.RLock()  # Pillow's pixel limit and warning filters are global


def read_image(path: str | os.PathLike, *, max_pixels: int | None = None) -> Picture:
    """Read a PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF or, with pillow-heif, HEIC file.

    The format is detected by content. 16-bit channels stay 16-bit, except in AVIF and HEIC; others become 8-bit.
    Palettes become RGB, all kinds of transparency an alpha channel; CMYK becomes sRGB, by its profile or, without one,
    by Pillow's formula; CIELAB becomes sRGB. EXIF orientation is applied; ICC profile, resolution, descriptive EXIF
    data and XMP are kept.

    Args:
        path: The file.
        max_pixels: Maximum number of pixels, against decompression bombs; None for Pillow's limit, twice
            ``PIL.Image.MAX_IMAGE_PIXELS``.

    Raises:
        ImageError: If the file is missing, empty, truncated, damaged or not an image; if it is animated or has several
            pages (see ``open_frames``); if its samples are not 8- or 16-bit integers; or if it has too many pixels.
    """
    with open_for_decoding(path, max_pixels) as file:
        return _read(file)


@contextmanager
def open_for_decoding(path: str | os.PathLike, max_pixels: int | None = None) -> Iterator[io.BufferedReader]:
    """Open an image file within ``decoding``."""
    with decoding(path, max_pixels), open_file(path) as file:
        yield file


def open_file(path: str | os.PathLike) -> io.BufferedReader:
    """Open an image file.

    Raises:
        ImageError: If the file is missing or empty.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError("not a file" if path.exists() else "no such file")
    if not path.stat().st_size:
        raise ImageError("the file is empty")
    return open(path, "rb")


@contextmanager
def decoding(path: str | os.PathLike, max_pixels: int | None = None) -> Iterator[None]:
    """Convert errors of decoders in the block to a one-line ImageError with the file's name."""
    name = one_line(path)
    try:
        with _pillow_lock, _warnings_suppressed(), pixel_limit(max_pixels):
            yield
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: {reason(error)} Raise the limit with --max-pixels") from None
    except MemoryError:
        raise ImageError(f"{name}: too large for available memory") from None
    except PermissionError as error:
        raise ImageError(f"{name}: cannot read ({reason(error)})") from None
    except Exception as error:  # decoders raise arbitrary errors on damaged files
        raise ImageError(f"{name}: damaged, truncated or unsupported ({reason(error)})") from None


def detect_format(file: io.BufferedReader) -> str:
    """Return ``PNG``, ``TIFF`` or ``BMP`` by signature, ``""`` for formats detected by Pillow."""
    file.seek(0)
    head = file.read(8)
    if head == png.SIGNATURE:
        return "PNG"
    if head[:4] in tiff.SIGNATURES:
        return "TIFF"
    return "BMP" if head[:2] == b"BM" else ""


def open_with_pillow(file: io.BufferedReader) -> Image.Image:
    """Open a file of a format read by Pillow, without decoding it."""
    formats = (*_PILLOW_FORMATS, *heif.formats_for(file))
    file.seek(0)
    try:
        return Image.open(file, formats=formats)
    except UnidentifiedImageError:
        raise ImageError(
            "not a PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF or HEIC image, or damaged at the beginning"
        ) from None


def animation_length(image: Image.Image) -> int:
    """Return the number of frames of an image opened by Pillow.

    Additional images in a JPEG (MPO: a gain map or second view) or HEIC file are not counted.
    """
    if image.format not in ("GIF", "WEBP", "AVIF"):
        return 1
    try:
        return getattr(image, "n_frames", 1)
    except IndexError:  # a GIF truncated within its second frame
        image.seek(0)
        return 1


def _read(file: io.BufferedReader) -> Picture:
    file_format = detect_format(file)
    if file_format == "PNG":
        return png.read_png(file)
    if file_format == "TIFF":
        return tiff.read_tiff(file)
    if file_format == "BMP":
        file.seek(0)
        pixels, profile, dpi = read_bmp(file.read())
        return Picture(pixels, matching_profile(profile, pixels.shape[2]), valid_dpi(dpi))
    image = open_with_pillow(file)
    if (frames := animation_length(image)) > 1:
        raise ImageError(f"animated image with {frames} frames; use --frames to upscale all")
    size = os.fstat(file.fileno()).st_size
    if image.format in _MAX_PIXELS_PER_BYTE and "progression" not in image.info:
        check_file_size(*image.size, size, _MAX_PIXELS_PER_BYTE[image.format])
    picture = from_pillow(image)
    exif = exif_of(image)
    if picture.dpi is None:
        picture = replace(picture, dpi=exif_dpi(exif))
    return picture.upright(exif.get(ORIENTATION, 1))


@contextmanager
def _warnings_suppressed() -> Iterator[None]:
    """Suppress Pillow's warnings on recoverable file errors.

    Only in the main thread: warning filters are global, and concurrent threads would restore each other's.
    """
    with warnings.catch_warnings() if threading.current_thread() is threading.main_thread() else nullcontext():
        if threading.current_thread() is threading.main_thread():
            warnings.simplefilter("ignore")
        yield
