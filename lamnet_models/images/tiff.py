"""TIFF reading."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pyvips
from PIL import Image, UnidentifiedImageError

from ..errors import ImageError
from . import vips
from .decoding import to_picture
from .limits import check_pixels
from .metadata import ORIENTATION, descriptive_exif, exif_of, valid_dpi
from .picture import Picture
from .pillow import from_pillow

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF, BigTIFF
_VIPS_UNSUPPORTED = (
    "compression support is not configured",
    "tiled separate planes not supported",
    "bad labq format",  # CIELAB in 8 bits
)


def read_tiff(file: io.BufferedReader, page: int | None = None) -> Picture:
    """Read a TIFF file.

    Args:
        file: The file.
        page: Index of the page; None for the only one.

    Raises:
        ImageError: If the file has several pages and ``page`` is None, or the file cannot be read.
    """
    try:
        image = vips.open_image(file, page)
        if page is None and (pages := vips.get_field(image, "n-pages", 1)) > 1:
            raise ImageError(f"file with {pages} pages; use --frames to upscale all")
        has_dpi = vips.get_field(image, "resolution-unit") is not None
        dpi = valid_dpi((image.xres * 25.4, image.yres * 25.4)) if has_dpi else None
        return _with_exif(to_picture(image, dpi), file, page)
    except pyvips.Error as error:
        if not any(reason in error.detail for reason in _VIPS_UNSUPPORTED):
            raise
        with suppress(UnidentifiedImageError):
            return _read_with_pillow(file, page)
        raise


def page_count(file: io.BufferedReader) -> int:
    """Return the number of pages of a TIFF file."""
    return vips.get_field(vips.open_image(file), "n-pages", 1)


def _read_with_pillow(file: io.BufferedReader, page: int | None) -> Picture:
    image = _open_with_pillow(file, page)
    check_pixels(*image.size)
    with _stderr_suppressed():
        image.load()
    return from_pillow(image).upright(exif_of(image).get(ORIENTATION))


def _with_exif(picture: Picture, file: io.BufferedReader, page: int | None) -> Picture:
    """Add the EXIF data, which libvips does not read from TIFF."""
    try:
        return replace(picture, exif=descriptive_exif(exif_of(_open_with_pillow(file, page))))
    except Exception:  # a TIFF that Pillow does not support
        return picture


def _open_with_pillow(file: io.BufferedReader, page: int | None) -> Image.Image:
    file.seek(0)
    image = Image.open(file, formats=("TIFF",))
    image.seek(page or 0)
    return image


@contextmanager
def _stderr_suppressed() -> Iterator[None]:
    """Redirect file descriptor 2 to null: libtiff reports damaged files there directly."""
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
