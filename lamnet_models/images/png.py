"""PNG reading."""

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
_MAX_PIXELS_PER_BYTE = 8 * 1032  # 1-bit pixels times deflate's maximum ratio


def read_png(file: io.BufferedReader) -> Picture:
    """Read a PNG file with one image."""
    chunks = small_chunks(file)
    if (frames := frame_count(chunks)) > 1:
        raise ImageError(f"animated image with {frames} frames; use --frames to upscale all")
    image = vips.open_image(file)
    check_file_size(image.width, image.height, os.fstat(file.fileno()).st_size, _MAX_PIXELS_PER_BYTE)
    return to_picture(image, _resolution(chunks))


def frame_count(chunks: dict[bytes, bytes]) -> int:
    """Return the number of frames of an animated PNG from its small chunks; 1 if not animated."""
    control = chunks.get(b"acTL", b"")
    return struct.unpack(">I", control[:4])[0] if len(control) == 8 else 1


def small_chunks(file: io.BufferedReader) -> dict[bytes, bytes]:
    """Return the small chunks before the pixel data."""
    chunks: dict[bytes, bytes] = {}
    file.seek(len(SIGNATURE))
    while len(header := file.read(8)) == 8:
        length, chunk_type = struct.unpack(">I4s", header)
        if chunk_type == b"IDAT":
            break
        if length <= 16:
            chunks[chunk_type] = file.read(length)
            file.seek(4, os.SEEK_CUR)  # the checksum
        else:
            file.seek(length + 4, os.SEEK_CUR)
    return chunks


def _resolution(chunks: dict[bytes, bytes]) -> tuple[float, float] | None:
    """Return the resolution, None if missing; libvips would return a default."""
    physical = chunks.get(b"pHYs", b"")
    if len(physical) != 9:
        return None
    across, down, unit = struct.unpack(">IIB", physical)
    return valid_dpi((across * 0.0254, down * 0.0254)) if unit == 1 else None
