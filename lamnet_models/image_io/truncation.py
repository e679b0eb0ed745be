"""Detection of truncated image files: those that end before their own structure does."""

from __future__ import annotations

import io
import os
import struct

import tifffile

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B  # blocks of GIF files


def is_truncated(file: io.BufferedReader) -> bool:
    """Return whether a file is shorter than it declares; False for formats that do not declare it, or if unknown."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    head = file.read(12)
    try:
        if head.startswith(b"\x89PNG"):
            return _png_ends_early(file, size)
        if head.startswith(b"\xff\xd8\xff"):
            return _jpeg_header_ends_early(file)
        if head.startswith(b"GIF8"):
            return _gif_ends_early(file)
        if head.startswith((b"II", b"MM")):
            return _tiff_ends_early(file, size)
        if head.startswith(b"BM"):
            return struct.unpack_from("<I", head, 2)[0] > size
        if head.startswith(b"RIFF") and head.endswith(b"WEBP"):
            return 8 + struct.unpack_from("<I", head, 4)[0] > size
        if head[4:8] == b"ftyp":
            return _box_end(file, size) > size
    except EOFError:
        return True
    except Exception:  # damaged
        return False
    return False


def lacks_end_marker(file: io.BufferedReader) -> bool:
    """Return whether a PNG or GIF file lacks its end marker; decoders read it nevertheless if the image is complete."""
    file.seek(0)
    return file.read(4) in (b"\x89PNG", b"GIF8") and is_truncated(file)


def _read(file: io.BufferedReader, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _png_ends_early(file: io.BufferedReader, size: int) -> bool:
    at, kind = 8, b""
    while kind != b"IEND":
        file.seek(at)
        length, kind = struct.unpack(">I4s", _read(file, 8))
        at += 12 + length
    return at > size


def _jpeg_header_ends_early(file: io.BufferedReader) -> bool:
    file.seek(2)
    while (header := _read(file, 4))[:2] != b"\xff\xda":  # start of the image data
        _read(file, int.from_bytes(header[2:], "big") - 2)
    return False


def _gif_ends_early(file: io.BufferedReader) -> bool:
    file.seek(10)
    _skip_gif_palette(file, _read(file, 3)[0])
    while (block := _read(file, 1)[0]) != _TRAILER:
        if block == _IMAGE:
            _skip_gif_palette(file, _read(file, 9)[8])
        elif block != _EXTENSION:
            return False  # damaged
        _read(file, 1)
        while length := _read(file, 1)[0]:
            _read(file, length)
    return False


def _skip_gif_palette(file: io.BufferedReader, flags: int) -> None:
    if flags & 0x80:
        _read(file, 3 * 2 ** ((flags & 7) + 1))


def _tiff_ends_early(file: io.BufferedReader, size: int) -> bool:
    """Return whether a directory, or the pixels of a page, are beyond the end of the file."""
    file.seek(0)
    head = _read(file, 8)
    order, is_big = "<" if head[:1] == b"I" else ">", 43 in head[2:4]
    count_form, offset_form, entry = (order + "Q", order + "Q", 20) if is_big else (order + "H", order + "I", 12)
    file.seek(8 if is_big else 4)
    seen: set[int] = set()
    while (start := _number(file, offset_form)) and start not in seen:
        seen.add(start)
        file.seek(start)
        if file.seek(_number(file, count_form) * entry + file.tell()) > size:
            return True
    file.seek(0)
    return any(
        start + count > size
        for page in tifffile.TiffFile(file).pages
        for start, count in zip(page.dataoffsets, page.databytecounts, strict=False)
    )


def _number(file: io.BufferedReader, form: str) -> int:
    return struct.unpack(form, _read(file, struct.calcsize(form)))[0]


def _box_end(file: io.BufferedReader, size: int) -> int:
    at = 0
    while at < size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", _read(file, 8))
        if length == 1:
            (length,) = struct.unpack(">Q", _read(file, 8))
        if length == 0 and kind:
            return size  # to the end of the file
        at += max(8, length)
    return at
