"""What stands before the pixels of a BMP file."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import ImageError

RGB, RLE8, RLE4, BITFIELDS, RLE24, ALPHA_BITFIELDS = 0, 1, 2, 3, 4, 6
RLE_BITS = {RLE8: 8, RLE4: 4, RLE24: 24}
"""Bits a pixel of the compressions by run lengths."""


@dataclass(frozen=True)
class Header:
    """What stands before the pixels.

    Attributes:
        size: Bytes of the header that tells its kind: 12 and 64 are OS/2's, 40 to 124 Windows'.
        width: Columns.
        height: Rows.
        top_down: Whether the first row of the file is the top one.
        bits: Bits a pixel.
        compression: Its number in the format.
        pixels_at: Where the pixels begin in the file.
        palette_at: Where the palette begins.
        colors: Entries of the palette; 0 is as many as the bits can tell apart.
        masks: Which bits of a pixel are red, green, blue and, where it is not 0, alpha.
        dpi: Resolution.
    """

    size: int
    width: int
    height: int
    top_down: bool
    bits: int
    compression: int
    pixels_at: int
    palette_at: int
    colors: int
    masks: tuple[int, ...]
    dpi: tuple[float, float]


def read_header(data: bytes) -> Header:
    """Returns what stands before the pixels of a BMP file.

    Raises:
        ImageError: If that is damaged, or of an unknown kind.
    """
    if len(data) < 26:
        raise ImageError("truncated before its pixels")
    pixels_at, size = struct.unpack_from("<II", data, 10)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression, across, down, colors = RGB, 0, 0, 0
    elif 16 <= size <= 124:
        fields = data[14 : 14 + min(size, 40)].ljust(40, b"\0")  # OS/2 may leave out the last ones
        width, height, _, bits, compression, _, across, down, colors = struct.unpack_from("<iiHHIIiiI", fields, 4)
    else:
        raise ImageError(f"a BMP header of {size} bytes is of no known kind")
    if size not in (40, 52, 56, 108, 124) and compression in (3, 4):  # OS/2's numbers: Huffman and 24-bit runs
        compression = RLE24 if compression == 4 and bits == 24 else -1
    elif compression == RLE24:
        compression = -1  # a JPEG file within, for printers
    has_masks = compression in (BITFIELDS, ALPHA_BITFIELDS)
    depths = {RGB: (1, 2, 4, 8, 16, 24, 32), BITFIELDS: (16, 32), ALPHA_BITFIELDS: (16, 32)}
    known = (RLE_BITS[compression],) if compression in RLE_BITS else depths.get(compression, ())
    if width < 1 or height == 0 or bits not in known:
        raise ImageError(f"a BMP of {width}x{height} pixels of {bits} bits, compressed in way {compression}: no such")
    masks: tuple[int, ...] = (0x7C00, 0x3E0, 0x1F, 0) if bits == 16 else (0xFF0000, 0xFF00, 0xFF, 0)
    palette_at = 14 + size
    if has_masks:
        count = 4 if size >= 56 or compression == ALPHA_BITFIELDS else 3
        if len(data) < 54 + 4 * count:
            raise ImageError("truncated before its pixels")
        masks = (*struct.unpack_from(f"<{count}I", data, 54), 0)[:4]
        palette_at += 4 * count if size == 40 else 0
    dpi = (across * 0.0254, down * 0.0254)
    return Header(size, width, abs(height), height < 0, bits, compression, pixels_at, palette_at, colors, masks, dpi)
