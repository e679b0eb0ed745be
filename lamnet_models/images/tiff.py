"""TIFF files."""

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

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the latter two BigTIFF
_VIPS_UNSUPPORTED = (
    "compression support is not configured",
    "tiled separate planes not supported",
    "bad labq format",  # CIELAB in 8 bits
)


def read_tiff(file: io.BufferedReader, page: int | None = None) -> Picture:
    """Reads a TIFF file.

    Args:
        file: The file.
        page: Which of its pictures; None for the only one.

    Raises:
        ImageError: If there are several and ``page`` is None, or the file cannot be read.
    """
    try:
        image = vips.open_image(file, page)
        if page is None and (pages := vips.get_field(image, "n-pages", 1)) > 1:
            raise ImageError(f"a file of {pages} pages; --frames enlarges all")
        known = vips.get_field(image, "resolution-unit") is not None
        dpi = valid_dpi((image.xres * 25.4, image.yres * 25.4)) if known else None
        return _with_exif(to_picture(image, dpi), file, page)
    except pyvips.Error as error:
        if not any(reason in error.detail for reason in _VIPS_UNSUPPORTED):
            raise
        with suppress(UnidentifiedImageError):
            return _read_with_pillow(file, page)
        raise


def page_count(file: io.BufferedReader) -> int:
    """Returns how many pictures a TIFF file holds."""
    return vips.get_field(vips.open_image(file), "n-pages", 1)


def _read_with_pillow(file: io.BufferedReader, page: int | None) -> Picture:
    image = _open_with_pillow(file, page)
    check_pixels(*image.size)
    with _stderr_suppressed():
        image.load()
    return from_pillow(image).upright(exif_of(image).get(ORIENTATION))


def _with_exif(picture: Picture, file: io.BufferedReader, page: int | None) -> Picture:
    """Adds the EXIF data, which libvips does not read from TIFF."""
    try:
        return replace(picture, exif=descriptive_exif(exif_of(_open_with_pillow(file, page))))
    except Exception:  # a kind that Pillow does not know
        return picture


def _open_with_pillow(file: io.BufferedReader, page: int | None) -> Image.Image:
    file.seek(0)
    image = Image.open(file, formats=("TIFF",))
    image.seek(page or 0)
    return image


@contextmanager
def _stderr_suppressed() -> Iterator[None]:
    """Keeps what Pillow's libtiff says about damaged files from the terminal: it goes past Python."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
