"""Image files in."""

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
_MAX_PIXELS_PER_BYTE = {"JPEG": 512, "GIF": 2730}  # a bit for a block of 8×8; the longest string of 12-bit LZW

for _name in ("PIL", "pyvips"):  # remarks on damaged files are for who asks for them, and not for the terminal
    logging.getLogger(_name).addHandler(logging.NullHandler())

_pillow_lock = threading.RLock()  # what Pillow allows, and warns about, is the whole process's


def read_image(path: str | os.PathLike, *, max_pixels: int | None = None) -> Picture:
    """Reads a PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF or, with pillow-heif, HEIC file, told apart by content.

    16 bits a channel stay 16 bits, anything less becomes 8, as does all of AVIF and HEIC. Palettes become RGB,
    transparency of any kind becomes an alpha channel, CMYK becomes sRGB by its profile or, without one, by Pillow's
    rule; CIELAB becomes sRGB. EXIF orientation is applied; ICC profile, resolution, EXIF data that describe the picture
    and XMP are kept.

    Args:
        path: The file.
        max_pixels: Most pixels that a picture may have, against decompression bombs; None is as in Pillow twice
            ``PIL.Image.MAX_IMAGE_PIXELS``.

    Raises:
        ImageError: If the file is missing, empty, truncated or damaged; if it is no image, an animated one, one of
            several pages (for which see ``open_frames``), or of other samples than 8- or 16-bit integers; or if it has
            too many pixels.
    """
    with open_for_decoding(path, max_pixels) as file:
        return _read(file)


@contextmanager
def open_for_decoding(path: str | os.PathLike, max_pixels: int | None = None) -> Iterator[io.BufferedReader]:
    """Yields an image file to decode, see ``decoding``."""
    with decoding(path, max_pixels), open_file(path) as file:
        yield file


def open_file(path: str | os.PathLike) -> io.BufferedReader:
    """Opens an image file.

    Raises:
        ImageError: If there is no such file, or nothing in it.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError("not a file" if path.exists() else "no such file")
    if not path.stat().st_size:
        raise ImageError("the file is empty")
    return open(path, "rb")


@contextmanager
def decoding(path: str | os.PathLike, max_pixels: int | None = None) -> Iterator[None]:
    """Makes one line of whatever a decoder raises in the block: an ImageError that names the file."""
    name = one_line(path)
    try:
        with _pillow_lock, _warnings_suppressed(), pixel_limit(max_pixels):
            yield
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: {reason(error)} --max-pixels allows more") from None
    except MemoryError:
        raise ImageError(f"{name}: too large for the memory of this machine") from None
    except PermissionError as error:
        raise ImageError(f"{name}: cannot be read ({reason(error)})") from None
    except Exception as error:  # decoders raise whatever their parsing of a damaged file trips over
        raise ImageError(f"{name}: damaged, truncated or of an unknown kind ({reason(error)})") from None


def detect_format(file: io.BufferedReader) -> str:
    """Returns which format a file begins like: ``PNG``, ``TIFF``, ``BMP``, or ``""`` for one that Pillow tells."""
    file.seek(0)
    head = file.read(8)
    if head == png.SIGNATURE:
        return "PNG"
    if head[:4] in tiff.SIGNATURES:
        return "TIFF"
    return "BMP" if head[:2] == b"BM" else ""


def open_with_pillow(file: io.BufferedReader) -> Image.Image:
    """Opens a file of a format that Pillow reads for us, without decoding it."""
    formats = (*_PILLOW_FORMATS, *heif.formats_for(file))
    file.seek(0)
    try:
        return Image.open(file, formats=formats)
    except UnidentifiedImageError:
        raise ImageError(
            "not a PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF or HEIC image, or one damaged at its beginning"
        ) from None


def animation_length(image: Image.Image) -> int:
    """Returns how many frames an image that Pillow has opened has.

    Other pictures within a JPEG (MPO: the gain map or the second view of a telephone's photograph) or HEIC file are no
    frames.
    """
    if image.format not in ("GIF", "WEBP", "AVIF"):
        return 1
    try:
        return getattr(image, "n_frames", 1)
    except IndexError:  # a GIF that ends within its second frame
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
        raise ImageError(f"an animated image of {frames} frames; --frames enlarges all")
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
    """Keeps Pillow's remarks on oddities in files, which it has got over, from the user's terminal.

    Only in the main thread: filters belong to the whole process, and one thread would restore what another has set.
    """
    with warnings.catch_warnings() if threading.current_thread() is threading.main_thread() else nullcontext():
        if threading.current_thread() is threading.main_thread():
            warnings.simplefilter("ignore")
        yield
