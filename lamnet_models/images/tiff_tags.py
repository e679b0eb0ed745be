"""EXIF data in TIFF files, which no library that writes these for us puts there."""

from __future__ import annotations

import io
import struct

from PIL import Image, TiffImagePlugin, TiffTags

from .metadata import EXIF, GPS, exif_for_size

_ENTRY = 12  # bytes


def add_exif(file: io.BufferedRandom, exif: bytes, width: int, height: int) -> None:
    """Adds EXIF data to a TIFF file: a longer directory at its end takes the place of the first one.

    Args:
        file: The file, of one picture; a BigTIFF is left as it is.
        exif: From ``descriptive``.
        width: Columns of the picture.
        height: Rows of the picture.
    """
    file.seek(0)
    if file.read(4) != b"II*\0":
        return
    (start,) = struct.unpack("<I", file.read(4))
    file.seek(start)
    (count,) = struct.unpack("<H", file.read(2))
    entries = dict(_entries_by_tag(file.read(_ENTRY * count)))
    (following,) = struct.unpack("<I", file.read(4))
    place = (file.seek(0, io.SEEK_END) + 1) & ~1
    added = _directory(exif_for_size(exif, width, height)).tobytes(place)
    (count,) = struct.unpack("<H", added[:2])
    entries |= dict(_entries_by_tag(added[2 : 2 + _ENTRY * count]))
    file.seek(place)
    file.write(added)
    place = (file.tell() + 1) & ~1
    file.seek(place)
    body = b"".join(entries[tag] for tag in sorted(entries))
    file.write(struct.pack("<H", len(entries)) + body + struct.pack("<I", following))
    file.seek(4)
    file.write(struct.pack("<I", place))


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
    """Returns the entries of a directory with their tags."""
    pieces = [entries[at : at + _ENTRY] for at in range(0, len(entries), _ENTRY)]
    return [(struct.unpack("<H", piece[:2])[0], piece) for piece in pieces]
