"""BMP decoder for all Windows and OS/2 headers and depths."""

from __future__ import annotations

import struct

import numpy as np

from ..errors import ImageError
from .bmp_header import RLE_BITS, Header, read_header
from .limits import check_pixels

_EMBEDDED_PROFILE = b"DEBM"  # "MBED" as a little-endian number


def read_bmp(data: bytes) -> tuple[np.ndarray, bytes | None, tuple[float, float]]:
    """Decode a BMP file.

    As in common viewers, an index beyond the palette is black, and pixels skipped by a run-length code have index 0.
    An alpha channel of zeros is treated as padding and dropped.

    Args:
        data: Content of the file.

    Returns:
        Pixels (H, W, C), uint8, gray, RGB or RGBA; the ICC profile or None; the resolution in dpi, which may be 0.

    Raises:
        ImageError: If the file is truncated, damaged or unsupported.
    """
    header = read_header(data)
    check_pixels(header.width, header.height)
    pixels = _decode_rle(header, data) if header.compression in RLE_BITS else _decode_rows(header, data)
    if header.bits <= 8:
        pixels = _apply_palette(pixels, _palette(header, data))
    elif header.bits == 24:
        pixels = pixels[..., ::-1]
    else:
        pixels = _apply_masks(pixels, header.masks)
    pixels = pixels if header.top_down else pixels[::-1]
    return np.ascontiguousarray(pixels), _profile(header, data), header.dpi


def _decode_rows(header: Header, data: bytes) -> np.ndarray:
    """Return uncompressed indices or packed values, (H, W), or BGR, (H, W, 3), for 24 bits."""
    used = (header.width * header.bits + 7) // 8
    stride = (used + 3) // 4 * 4
    missing = header.pixels_at + stride * (header.height - 1) + used - len(data)
    if missing > 0:
        raise ImageError(f"truncated: {missing} bytes of pixel data are missing")
    body = data[header.pixels_at : header.pixels_at + stride * header.height].ljust(stride * header.height, b"\0")
    rows = np.frombuffer(body, np.uint8).reshape(header.height, stride)
    if header.bits < 8:
        bits = np.unpackbits(rows[:, :used], axis=1).reshape(header.height, -1, header.bits)
        indices = np.zeros(bits.shape[:2], np.uint8)
        for position in range(header.bits):
            indices = indices << 1 | bits[..., position]
        return indices[:, : header.width]
    if header.bits == 24:
        return rows[:, :used].reshape(header.height, header.width, 3)
    dtype = {8: "u1", 16: "<u2", 32: "<u4"}[header.bits]
    return np.ascontiguousarray(rows[:, :used]).view(dtype)


def _decode_rle(header: Header, data: bytes) -> np.ndarray:
    """Return run-length decoded indices, (H, W), or BGR, (H, W, 3), for 24 bits."""
    depth = header.bits // 8 or 1
    width, height = header.width, header.height
    out = np.zeros((height, width, depth), np.uint8)
    at, x, y = header.pixels_at, 0, 0
    try:
        while y < height:
            count, code = data[at], data[at + 1]
            at += 2
            if count:  # a run of one value, or of two alternating 4-bit values
                value = data[at - 1 : at - 1 + depth]
                if len(value) < depth:
                    raise IndexError
                at += depth - 1
                run = np.array([code >> 4, code & 15] * 128) if header.bits == 4 else np.frombuffer(value, np.uint8)
                room = max(0, min(count, width - x))
                out[y, x : x + room] = run[:room, None] if header.bits == 4 else run
                x += count
            elif code == 0:
                x, y = 0, y + 1
            elif code == 1:
                return out if depth > 1 else out[..., 0]
            elif code == 2:
                x, y, at = x + data[at], y + data[at + 1], at + 2
            else:  # literal values
                length = (code + 1) // 2 if header.bits == 4 else code * depth
                values = np.frombuffer(data, np.uint8, length, at)
                if header.bits == 4:
                    values = np.stack((values >> 4, values & 15), axis=1).reshape(-1)[:code]
                room = max(0, min(code, width - x))
                out[y, x : x + room] = values.reshape(-1, depth)[:room]
                x, at = x + code, at + length + length % 2
    except (IndexError, ValueError):  # past the end of the file
        if y < height - 1 or x < width:
            raise ImageError("truncated within the pixel data") from None
    return out if depth > 1 else out[..., 0]


def _palette(header: Header, data: bytes) -> np.ndarray:
    """Return the RGB palette, (2**bits, 3), padded with black."""
    entry = 3 if header.size == 12 else 4
    size = 2**header.bits
    count = min(header.colors or size, size)
    entries = data[header.palette_at : header.palette_at + entry * count]
    if header.palette_at < header.pixels_at < header.palette_at + len(entries):  # shorter than declared
        entries = data[header.palette_at : header.pixels_at]
    entries = entries[: len(entries) // entry * entry].ljust(entry * size, b"\0")
    return np.frombuffer(entries, np.uint8).reshape(size, entry)[:, 2::-1]


def _apply_palette(indices: np.ndarray, palette: np.ndarray) -> np.ndarray:
    used = palette[: int(indices.max()) + 1]
    is_gray = (used == used[:, :1]).all()
    return palette[indices][..., :1] if is_gray else palette[indices]


def _apply_masks(values: np.ndarray, masks: tuple[int, ...]) -> np.ndarray:
    channels = [_channel(values, mask) for mask in masks[:3]]
    if masks[3]:
        alpha = _channel(values, masks[3])
        if alpha.any():
            channels.append(alpha)
    return np.stack(channels, axis=2)


def _channel(values: np.ndarray, mask: int) -> np.ndarray:
    if mask == 0:
        return np.zeros(values.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    top = mask >> shift
    channel = (values.astype(np.uint64) & mask) >> shift
    return ((channel * 255 + top // 2) // top).astype(np.uint8)


def _profile(header: Header, data: bytes) -> bytes | None:
    if header.size != 124 or data[70:74] != _EMBEDDED_PROFILE:
        return None
    start, length = struct.unpack_from("<II", data, 126)
    return data[14 + start : 14 + start + length] or None
