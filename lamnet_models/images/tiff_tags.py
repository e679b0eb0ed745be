"""Insertion of EXIF data into TIFF files."""

from __future__ import annotations

import io
import struct

from PIL import Image, TiffImagePlugin, TiffTags

from .metadata import EXIF, GPS, exif_for_size

_ENTRY = 12  # bytes


def add_exif(file: io.BufferedRandom, exif: bytes, width: int, height: int) -> None:
    """Add EXIF data to a TIFF file: append an extended directory that replaces the first one.

    Args:
        file: A single-page file; a BigTIFF is left unchanged.
        exif: From ``descriptive_exif``.
        width: Columns of the image.
        height: Rows of the image.
    """
    file.seek(0)
    if file.read(4) != b"II*\0":
        return
    (start,) = struct.unpack("<I", file.read(4))
    file.seek(start)
    (count,) = struct.unpack("<H", file.read(2))
    entries = dict(_entries_by_tag(file.read(_ENTRY * count)))
    (following,) = struct.unpack("<I", file.read(4))
    offset = (file.seek(0, io.SEEK_END) + 1) & ~1
    added = _directory(exif_for_size(exif, width, height)).tobytes(offset)
    (count,) = struct.unpack("<H", added[:2])
    entries |= dict(_entries_by_tag(added[2 : 2 + _ENTRY * count]))
    file.seek(offset)
    file.write(added)
    offset = (file.tell() + 1) & ~1
    file.seek(offset)
    body = b"".join(entries[tag] for tag in sorted(entries))
    file.write(struct.pack("<H", len(entries)) + body + struct.pack("<I", following))
    file.seek(4)
    file.write(struct.pack("<I", offset))


def _directory(exif: Image.Exif) -> TiffImagePlugin.ImageFileDirectory_v2:
    directory = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    for tag, value in exif.items():
        if tag not in (EXIF, GPS):
            directory[tag] = value
    for tag in (EXIF, GPS):
        if details := exif.get_ifd(tag):
            directory.tagtype[tag] = TiffTags.LONG
            directory[tag] = dict(details)
    return directory


def _entries_by_tag(entries: bytes) -> list[tuple[int, bytes]]:
    """Return the entries of a directory as (tag, entry) pairs."""
    chunks = [entries[at : at + _ENTRY] for at in range(0, len(entries), _ENTRY)]
    return [(struct.unpack("<H", chunk[:2])[0], chunk) for chunk in chunks]
