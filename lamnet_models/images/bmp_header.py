"""BMP file headers."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import ImageError

RGB, RLE8, RLE4, BITFIELDS, RLE24, ALPHA_BITFIELDS = 0, 1, 2, 3, 4, 6
RLE_BITS = {RLE8: 8, RLE4: 4, RLE24: 24}
"""Bits per pixel of the run-length compressions."""


@dataclass(frozen=True)
class Header:
    """A parsed BMP header.

    Attributes:
        size: Bytes of the info header, which identify its version: 12 and 64 for OS/2, 40 to 124 for Windows.
        width: Columns.
        height: Rows.
        top_down: Whether the first row of the file is the top one.
        bits: Bits per pixel.
        compression: Compression code.
        pixels_at: File offset of the pixel data.
        palette_at: File offset of the palette.
        colors: Entries of the palette; 0 for ``2**bits``.
        masks: Bit masks of red, green, blue and alpha; 0 for no alpha.
        dpi: Horizontal and vertical resolution.
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
    """Parse the header of a BMP file.

    Raises:
        ImageError: If the header is damaged or unsupported.
    """
    if len(data) < 26:
        raise ImageError("truncated before the pixel data")
    pixels_at, size = struct.unpack_from("<II", data, 10)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression, across, down, colors = RGB, 0, 0, 0
    elif 16 <= size <= 124:
        fields = data[14 : 14 + min(size, 40)].ljust(40, b"\0")  # OS/2 headers may omit the last fields
        width, height, _, bits, compression, _, across, down, colors = struct.unpack_from("<iiHHIIiiI", fields, 4)
    else:
        raise ImageError(f"unsupported BMP header of {size} bytes")
    if size not in (40, 52, 56, 108, 124) and compression in (3, 4):  # OS/2 codes: Huffman and 24-bit RLE
        compression = RLE24 if compression == 4 and bits == 24 else -1
    elif compression == RLE24:
        compression = -1  # an embedded JPEG, for printers
    has_masks = compression in (BITFIELDS, ALPHA_BITFIELDS)
    depths = {RGB: (1, 2, 4, 8, 16, 24, 32), BITFIELDS: (16, 32), ALPHA_BITFIELDS: (16, 32)}
    supported = (RLE_BITS[compression],) if compression in RLE_BITS else depths.get(compression, ())
    if width < 1 or height == 0 or bits not in supported:
        raise ImageError(f"unsupported BMP: {width}x{height} pixels, {bits} bits, compression {compression}")
    masks: tuple[int, ...] = (0x7C00, 0x3E0, 0x1F, 0) if bits == 16 else (0xFF0000, 0xFF00, 0xFF, 0)
    palette_at = 14 + size
    if has_masks:
        count = 4 if size >= 56 or compression == ALPHA_BITFIELDS else 3
        if len(data) < 54 + 4 * count:
            raise ImageError("truncated before the pixel data")
        masks = (*struct.unpack_from(f"<{count}I", data, 54), 0)[:4]
        palette_at += 4 * count if size == 40 else 0
    dpi = (across * 0.0254, down * 0.0254)
    return Header(size, width, abs(height), height < 0, bits, compression, pixels_at, palette_at, colors, masks, dpi)
