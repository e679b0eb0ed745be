"""Image files in."""

from __future__ import annotations

import io
import os
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyvips
from PIL import Image, UnidentifiedImageError

from ..errors import ImageError
from . import vips
from .colour import cmyk_to_rgb, fitting_profile
from .messages import one_line, reason
from .picture import Picture
from .pillow import checked_dpi, from_pillow

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the latter two BigTIFF
_PILLOW_FORMATS = ("JPEG", "WEBP", "BMP", "GIF")
_COLOUR_SPACES = ("b-w", "grey16", "srgb", "rgb16", "cmyk")  # libvips' names
_ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x0112, 0x011A, 0x011B, 0x0128  # EXIF tags
_ANIMATED = "an animated image, which is not supported; extract its frames first"

_warnings_lock = threading.Lock()  # catch_warnings is not for several threads at once


def read_image(path: str | os.PathLike) -> Picture:
    """Reads a PNG, JPEG, WebP, TIFF, BMP or GIF file, told apart by content.

    16 bits a channel stay 16 bits, anything less becomes 8. Palettes become RGB, transparency of any kind becomes an
    alpha channel, CMYK becomes sRGB by its profile or, without one, by Pillow's rule; CIELAB becomes sRGB. EXIF
    orientation is applied; ICC profile and resolution are kept, but no other metadata.

    Args:
        path: The file.

    Raises:
        ImageError: If the file is missing, empty, truncated or damaged; if it is no image, an animated one, one of
            several pages, or of other samples than 8- or 16-bit integers; or if it has more pixels than Pillow allows
            against decompression bombs, twice ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    path = Path(path)
    name = one_line(path)
    if not path.is_file():
        raise ImageError(f"{name}: {'not a file' if path.exists() else 'no such file'}")
    try:
        with open(path, "rb") as file, _no_warnings():
            return _read(file)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None
    except MemoryError:
        raise ImageError(f"{name}: too large for the memory of this machine") from None
    except PermissionError as error:
        raise ImageError(f"{name}: cannot be read ({reason(error)})") from None
    except Exception as error:  # decoders raise whatever their parsing of a damaged file trips over
        raise ImageError(f"{name}: damaged, truncated or of an unknown kind ({reason(error)})") from None


def _read(file: io.BufferedReader) -> Picture:
    head = file.read(8)
    if not head:
        raise ImageError("the file is empty")
    if head == _PNG:
        return _read_png(file)
    if head[:4] in _TIFF:
        return _read_tiff(file)
    return _read_with_pillow(file)


def _read_png(file: io.BufferedReader) -> Picture:
    chunks = _png_chunks(file)
    if b"acTL" in chunks and struct.unpack(">I", chunks[b"acTL"][:4])[0] > 1:
        raise ImageError(_ANIMATED)
    dpi = None
    if b"pHYs" in chunks:  # libvips has a default where it is missing
        *per_metre, unit = struct.unpack(">IIB", chunks[b"pHYs"])
        dpi = tuple(number * 0.0254 for number in per_metre) if unit == 1 else None
    return _decoded(vips.open_image(file), dpi)


def _read_tiff(file: io.BufferedReader) -> Picture:
    image = vips.open_image(file)
    if (pages := vips.field(image, "n-pages", 1)) > 1:
        raise ImageError(f"a file of {pages} pages, which is not supported; extract them first")
    known = vips.field(image, "resolution-unit") is not None
    return _decoded(image, (image.xres * 25.4, image.yres * 25.4) if known else None)


def _decoded(image: pyvips.Image, dpi: tuple[float, float] | None) -> Picture:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > 2 * limit:
        raise ImageError(
            f"{image.width * image.height} pixels are more than the {2 * limit} allowed against decompression bombs"
        )
    if image.interpretation == "labs":  # CIELAB
        image = image.colourspace("rgb16")
    if image.format not in ("uchar", "ushort"):
        raise ImageError(f"its samples are of type {image.format}; only 8- and 16-bit unsigned integers are supported")
    if image.interpretation not in _COLOUR_SPACES:
        raise ImageError(f"its colour space, {image.interpretation}, is not supported")
    profile = vips.field(image, "icc-profile-data")
    pixels = vips.to_pixels(image)
    if image.interpretation == "cmyk":
        pixels, profile = cmyk_to_rgb(pixels, profile)
    if pixels.shape[2] > 4:
        raise ImageError(
            f"{pixels.shape[2]} channels a pixel, where grey, RGB or CMYK and at most one of alpha are known"
        )
    return _upright(pixels, profile, dpi, vips.field(image, "orientation", 1))


def _read_with_pillow(file: io.BufferedReader) -> Picture:
    file.seek(0)
    try:
        image = Image.open(file, formats=_PILLOW_FORMATS)
    except UnidentifiedImageError:
        raise ImageError("not a PNG, JPEG, WebP, TIFF, BMP or GIF image, or one damaged at its beginning") from None
    except Image.DecompressionBombError as error:
        raise ImageError(reason(error)) from None
    # MPO is a JPEG that carries others, such as the gain map or the second view of a telephone's photograph.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise ImageError(_ANIMATED)
    picture = from_pillow(image)
    exif = _exif(image)
    return _upright(picture.pixels, picture.icc_profile, picture.dpi or _exif_dpi(exif), exif.get(_ORIENTATION, 1))


def _upright(
    pixels: np.ndarray, profile: bytes | None, dpi: tuple[float, float] | None, orientation: object
) -> Picture:
    """Makes a picture of pixels, turned as the EXIF orientation (1 to 8, anything else is 1) asks."""
    dpi = checked_dpi(dpi)
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
        dpi = dpi and dpi[::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return Picture(np.ascontiguousarray(pixels), fitting_profile(profile, pixels.shape[2]), dpi)


def _exif(image: Image.Image) -> dict:
    try:
        return dict(image.getexif())
    except Exception:  # damaged EXIF data are no reason to refuse the picture
        return {}


def _exif_dpi(exif: dict) -> tuple[float, float] | None:
    dpi = checked_dpi((exif.get(_X_RESOLUTION), exif.get(_Y_RESOLUTION)))
    if dpi and exif.get(_RESOLUTION_UNIT) == 3:  # per centimetre
        return dpi[0] * 2.54, dpi[1] * 2.54
    return dpi


def _png_chunks(file: io.BufferedReader) -> dict[bytes, bytes]:
    """Returns the small chunks that stand before the pixels."""
    chunks: dict[bytes, bytes] = {}
    file.seek(len(_PNG))
    while len(header := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        if kind == b"IDAT":
            break
        if length <= 16:
            chunks[kind] = file.read(length)
            file.seek(4, os.SEEK_CUR)  # the checksum
        else:
            file.seek(length + 4, os.SEEK_CUR)
    return chunks


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Keeps Pillow's remarks on oddities in files, which it has got over, from the user's terminal."""
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
