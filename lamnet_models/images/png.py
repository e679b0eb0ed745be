"""PNG files."""

from __future__ import annotations

import io
import os
import struct

from ..errors import ImageError
from . import vips
from .decoding import to_picture
from .limits import check_file_size
from .metadata import valid_dpi
from .picture import Picture

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_PIXELS_PER_BYTE = 8 * 1032  # of one bit each, as far as deflate compresses


def read_png(file: io.BufferedReader) -> Picture:
    """Reads a PNG file of one picture."""
    chunks = small_chunks(file)
    if (frames := frame_count(chunks)) > 1:
        raise ImageError(f"an animated image of {frames} frames; --frames enlarges all")
    image = vips.open_image(file)
    check_file_size(image.width, image.height, os.fstat(file.fileno()).st_size, _MAX_PIXELS_PER_BYTE)
    return to_picture(image, _resolution(chunks))


def frame_count(chunks: dict[bytes, bytes]) -> int:
    """Returns how many frames an animated PNG has, by its small chunks; 1 if it is none."""
    control = chunks.get(b"acTL", b"")
    return struct.unpack(">I", control[:4])[0] if len(control) == 8 else 1


def small_chunks(file: io.BufferedReader) -> dict[bytes, bytes]:
    """Returns the small chunks that stand before the pixels."""
    chunks: dict[bytes, bytes] = {}
    file.seek(len(SIGNATURE))
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


def _resolution(chunks: dict[bytes, bytes]) -> tuple[float, float] | None:
    """Returns the resolution; libvips has a default where it is missing."""
    physical = chunks.get(b"pHYs", b"")
    if len(physical) != 9:
        return None
    across, down, unit = struct.unpack(">IIB", physical)
    return valid_dpi((across * 0.0254, down * 0.0254)) if unit == 1 else None
