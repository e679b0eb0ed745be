"""Pixel limits against decompression bombs and truncated files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from ..errors import ImageError

_SMALL = 1 << 24  # number of pixels below which a false size does no harm


@contextmanager
def pixel_limit(max_pixels: int | None) -> Iterator[None]:
    """Set Pillow's pixel limit within the block; None leaves it unchanged."""
    before = Image.MAX_IMAGE_PIXELS
    if max_pixels is not None:
        Image.MAX_IMAGE_PIXELS = max_pixels / 2
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def check_pixels(width: int, height: int) -> None:
    """Raise ImageError if an image has more than twice ``PIL.Image.MAX_IMAGE_PIXELS`` pixels."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > 2 * limit:
        raise ImageError(
            f"image must have at most {int(2 * limit):,} pixels (decompression bomb limit), got {width:,}×{height:,}; "
            "raise the limit with --max-pixels"
        )


def check_file_size(width: int, height: int, file_size: int, max_pixels_per_byte: int) -> None:
    """Raise ImageError if a file is too short for its pixels, before a decoder allocates them.

    Args:
        width: Columns.
        height: Rows.
        file_size: Bytes of the file.
        max_pixels_per_byte: Maximum number of pixels that the format encodes in a byte.
    """
    if width * height > max(_SMALL, max_pixels_per_byte * file_size):
        raise ImageError(f"truncated: {file_size:,} bytes cannot hold {width:,}×{height:,} pixels")
