"""How large a picture may be that is read, against files that say much and hold little."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from ..errors import ImageError

_SMALL = 1 << 24  # pixels that cost little even where a file only claims them


@contextmanager
def pixel_limit(most: int | None) -> Iterator[None]:
    """Allows so many pixels, where Pillow too looks for it; None leaves the limit as it is."""
    before = Image.MAX_IMAGE_PIXELS
    if most is not None:
        Image.MAX_IMAGE_PIXELS = most / 2
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def check_pixels(width: int, height: int) -> None:
    """Raises ImageError if a picture has more pixels than are allowed: as in Pillow, twice its ``MAX_IMAGE_PIXELS``."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > 2 * limit:
        raise ImageError(
            f"its {width:,}×{height:,} pixels are more than the {int(2 * limit):,} allowed against decompression "
            "bombs; --max-pixels allows more"
        )


def check_file_size(width: int, height: int, file_size: int, most: int) -> None:
    """Raises ImageError if a file is far too short for its pixels, before a decoder takes memory for them.

    Args:
        width: Columns.
        height: Rows.
        file_size: Bytes of the file.
        most: Most pixels that the format gets into a byte.
    """
    if width * height > max(_SMALL, most * file_size):
        raise ImageError(f"truncated: {file_size:,} bytes cannot hold {width:,}×{height:,} pixels")
