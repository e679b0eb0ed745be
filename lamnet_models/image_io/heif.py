"""Boxes of AVIF and HEIC files: color signaling of the primary item."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .color import UNSPECIFIED, ColorSignals
from .streams import AV1Header, HEVCHeader

_SEQUENCE_HEADER = 1  # type of an AV1 open bitstream unit (OBU)
_SEQUENCE_PARAMETER_SET = 33  # type of an HEVC network abstraction layer (NAL) unit
_LIGHT_UNITS = 10_000  # of PNG chunks per cd/m²


def signals_from_heif(data: bytes) -> ColorSignals:
    """Return the code points and HDR metadata of an AVIF or HEIC file.

    Without an ``nclx`` box, the code points in the header of the AV1 or HEVC stream count, except in grids.
    """
    mastering = light = code_points = None
    try:
        properties = dict(_primary_properties(data))
        if box := properties.get(b"nclx"):
            code_points = struct.unpack_from(">2H", data, box[0])
        elif b"av1C" in properties:
            code_points = AV1Header(_sequence_header(data)).code_points()
        elif box := properties.get(b"hvcC"):
            code_points = HEVCHeader(_parameter_set(data[slice(*box)])).code_points()
        if box := properties.get(b"mdcv"):
            green_blue_red = data[box[0] : box[0] + 12]
            mastering = green_blue_red[8:] + green_blue_red[:8] + data[box[0] + 12 : box[0] + 24]
        if box := properties.get(b"clli"):
            light = struct.pack(">2I", *(_LIGHT_UNITS * value for value in struct.unpack_from(">2H", data, box[0])))
    except (LookupError, struct.error):  # damaged
        pass
    is_valid = code_points and max(code_points) < 256 and code_points != (UNSPECIFIED, UNSPECIFIED)
    return ColorSignals(
        code_points if is_valid else None,
        mastering_display=mastering if mastering and len(mastering) == 24 else None,
        light_level=light,
    )


def nclx_offset(data: bytes) -> int | None:
    """Return the position of the primary item's code points in an AVIF or HEIC file, or None.

    These are 16-bit primaries, transfer function and matrix coefficients. Other items, such as gain maps, have their
    own.
    """
    try:
        return dict(_primary_properties(data))[b"nclx"][0]
    except (LookupError, struct.error):  # not stored, or damaged
        return None


def with_header_code_points(data: bytes, code_points: tuple[int, int]) -> bytes:
    """Return an AVIF file with other code points in its AV1 sequence header, which counts if ``nclx`` is missing.

    Raises:
        LookupError: If the header has no code points.
    """
    header = _sequence_header(data)
    bits = AV1Header(header)
    if not bits.code_points():
        raise LookupError("code points")
    value = bits.value & ~(0xFFFF << bits.left) | (code_points[0] << 8 | code_points[1]) << bits.left
    return data.replace(header, value.to_bytes(len(header), "big"))  # also the copy in the file's own header


def chroma_format(data: bytes) -> tuple[bool, bool, int]:
    """Return whether an AVIF file's chroma is subsampled horizontally and vertically, and its matrix coefficients.

    Not known for grids, which count as not subsampled.
    """
    try:
        properties = dict(_primary_properties(data))
        flags = data[properties[b"av1C"][0] + 2]
        if box := properties.get(b"nclx"):
            (matrix,) = struct.unpack_from(">H", data, box[0] + 4)
        else:
            header = AV1Header(_sequence_header(data))
            matrix = header.read(8) if header.code_points() else UNSPECIFIED
        return bool(flags & 8), bool(flags & 4), matrix
    except (LookupError, struct.error):  # not stored, or damaged
        return False, False, UNSPECIFIED


def is_premultiplied(data: bytes) -> bool:
    """Return whether the colors of an AVIF or HEIC file are multiplied with alpha."""
    start, stop = _meta_boxes(data).get(b"iref", (0, 0))
    return any(kind == b"prem" for kind, *_ in _boxes(data, start + 4, stop))


def _primary_properties(data: bytes) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yield the kinds of the primary item's properties, and where they begin and end; color boxes by their type."""
    boxes = _meta_boxes(data)
    properties = {kind: (start, stop) for kind, start, stop in _boxes(data, *boxes[b"iprp"])}
    items = list(_boxes(data, *properties[b"ipco"]))
    for index in _associations(data, properties[b"ipma"][0], _primary_item(data, boxes)):
        kind, start, stop = items[index - 1]
        if kind == b"colr":
            kind, start = data[start : start + 4], start + 4
        yield kind, (start, stop)


def _meta_boxes(data: bytes) -> dict[bytes, tuple[int, int]]:
    meta = next((start for kind, start, _ in _boxes(data, 0, len(data)) if kind == b"meta"), len(data)) + 4
    return {kind: (start, stop) for kind, start, stop in _boxes(data, meta, len(data))}


def _boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kinds of boxes, and where their contents begin and end."""
    while start + 8 <= stop:
        size, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, content)
            content += 8
        end = start + size if size else stop
        if not content <= end <= stop:
            return
        yield kind, content, end
        start = end


def _primary_item(data: bytes, boxes: dict[bytes, tuple[int, int]]) -> int:
    start = boxes[b"pitm"][0]
    return struct.unpack_from(">H" if data[start] == 0 else ">I", data, start + 4)[0]


def _associations(data: bytes, start: int, item: int) -> list[int]:
    """Return the indices, from 1, of an item's properties."""
    id_format, id_size = (">H", 2) if data[start] == 0 else (">I", 4)
    width = 2 if data[start + 3] & 1 else 1
    (entries,) = struct.unpack_from(">I", data, start + 4)
    start += 8
    for _ in range(entries):
        (found,) = struct.unpack_from(id_format, data, start)
        count, first = data[start + id_size], start + id_size + 1
        start = first + count * width
        if found == item:
            mask = 0x7FFF if width == 2 else 0x7F  # the highest bit: whether the property is essential
            return [int.from_bytes(data[at : at + width], "big") & mask for at in range(first, start, width)]
    return []


# AV1


def _sequence_header(data: bytes) -> bytes:
    """Return the sequence header of the primary item.

    Raises:
        LookupError: If it is missing.
    """
    start, length = _item_location(data, _meta_boxes(data)[b"iloc"][0], _primary_item(data, _meta_boxes(data)))
    item = data[start : start + length] if length else data[start:]
    at = 0
    while at < len(item):
        header = item[at]
        at += 2 if header & 4 else 1  # with an extension byte
        size = len(item) - at
        if header & 2:
            size, at = _leb128(item, at)
        if header >> 3 & 15 == _SEQUENCE_HEADER:
            return item[at : at + size]
        at += size
    raise LookupError("sequence header")


def _item_location(data: bytes, start: int, item: int) -> tuple[int, int]:
    """Return the offset and length of an item's first extent; 0 for the rest of the file.

    Raises:
        LookupError: If the item is not stored in the file itself, or is missing.
    """
    version = data[start]
    sizes = [size for byte in data[start + 4 : start + 6] for size in (byte >> 4, byte & 15)]
    offset_size, length_size, base_size, index_size = sizes if version else (*sizes[:3], 0)
    at, id_size = start + 6, 4 if version == 2 else 2

    def read(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(data[at - size : at], "big")

    for _ in range(read(id_size)):
        found, method = read(id_size), read(2) & 15 if version else 0
        source, base = read(2), read(base_size)
        extents = [(read(index_size), base + read(offset_size), read(length_size)) for _ in range(read(2))]
        if found == item and not method and not source and extents:
            return extents[0][1:]
        if at >= len(data):
            break
    raise LookupError(item)


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length, and the position behind it."""
    value = 0
    for index in range(8):
        value |= (data[at + index] & 127) << 7 * index
        if not data[at + index] & 128:
            return value, at + index + 1
    raise LookupError("number is too long")


# HEVC


def _parameter_set(configuration: bytes) -> bytes:
    """Return the sequence parameter set in the contents of an ``hvcC`` box.

    Raises:
        LookupError: If it is missing.
    """
    at = 23
    for _ in range(configuration[22]):
        kind, count = struct.unpack_from(">BH", configuration, at)
        at += 3
        for _ in range(count):
            (size,) = struct.unpack_from(">H", configuration, at)
            if kind & 63 == _SEQUENCE_PARAMETER_SET:
                return configuration[at + 2 : at + 2 + size]
            at += 2 + size
    raise LookupError("sequence parameter set")
