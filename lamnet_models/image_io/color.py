"""Color signaling other than ICC profiles: PNG chunks, nclx boxes of AVIF and HEIC, TIFF and EXIF tags."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from PIL import Image

_WHITE_POINT, _PRIMARIES, _TRANSFER_FUNCTION = 0x013E, 0x013F, 0x012D  # tags of TIFF and EXIF
_SHORT, _RATIONAL = 3, 5  # their types
_SRGB_WHITE_POINT, _SRGB_PRIMARIES = (0.3127, 0.329), (0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_SRGB_GAMMA = 1 / 2.2
_UNSPECIFIED, _HDR_TRANSFER = 2, {16: "PQ", 18: "HLG"}  # code points of ITU-T H.273
_SDR_LIKE_SRGB = ((1, 2), (1, 2, 6, 13, 14, 15))  # primaries and transfer functions displayed as sRGB
_CODE_POINT_FORMATS, _TAG_FORMATS = ("PNG", "AVIF", "HEIF"), ("TIFF", "JPEG", "WEBP")
_EXIF_FORMATS = ("JPEG", "WEBP")
_EXIF, _INTEROPERABILITY, _INDEX, _ADOBE_RGB = 0x8769, 0xA005, 1, "R03"  # directories of EXIF data, and an entry


@dataclass(frozen=True)
class ColorSignals:
    """Color space of a file, in addition to or instead of an ICC profile. Pixel values are never changed by it.

    Attributes:
        code_points: Color primaries and transfer function, as in ITU-T H.273; they take precedence over a profile.
        full_range: Whether 0 is black and the maximum white, for code points.
        gamma: Exponent from light to values, such as 1 / 2.2.
        white_point: Chromaticity x, y of white.
        primaries: Chromaticities x, y of red, green and blue.
        srgb_intent: Rendering intent of an image declared as sRGB.
        transfer_function: Table from values to light of a TIFF file, for one or three channels.
        adobe_rgb: Whether EXIF data declare Adobe RGB, as cameras do.
    """

    code_points: tuple[int, int] | None = None
    full_range: bool = True
    gamma: float | None = None
    white_point: tuple[float, ...] | None = None
    primaries: tuple[float, ...] | None = None
    srgb_intent: int | None = None
    transfer_function: tuple[int, ...] | None = None
    adobe_rgb: bool = False

    @property
    def hdr(self) -> str | None:
        """Name of the HDR transfer function, ``"PQ"`` or ``"HLG"``, or None."""
        return _HDR_TRANSFER.get(self.code_points[1]) if self.code_points else None

    def fits_code_points(self, form: str) -> bool:
        """Return whether the image has code points and a format, by Pillow's name, stores them."""
        return self.code_points is not None and form in _CODE_POINT_FORMATS and (self.full_range or form == "PNG")

    def fits_transfer_function(self, bits: int) -> bool:
        """Return whether the image has a transfer function for values of this number of bits."""
        return self.transfer_function is not None and len(self.transfer_function) in (1 << bits, 3 << bits)

    def dropped(self, form: str, bits: int, has_profile: bool) -> str | None:
        """Return a warning if the format does not store what determines the colors, otherwise None.

        Args:
            form: Pillow's name of the format.
            bits: Bits per channel of the result.
            has_profile: Whether the image has an ICC profile.
        """
        lost = []
        if self.fits_code_points(form) or has_profile or (self.srgb_intent is not None and not self.code_points):
            return None
        if self.code_points:
            is_like_srgb = all(code in codes for code, codes in zip(self.code_points, _SDR_LIKE_SRGB, strict=True))
            if not is_like_srgb or not self.full_range:
                lost.append("code points {}/{}".format(*self.code_points))
        else:
            if self.gamma and abs(self.gamma - _SRGB_GAMMA) > 0.01 and form != "PNG":
                lost.append("gamma")
            if not self._has_srgb_chromaticities() and not self._fits_chromaticities(form):
                lost.append("chromaticities")
            if self.transfer_function and not (form in _TAG_FORMATS and self.fits_transfer_function(bits)):
                lost.append("transfer function")
            if self.adobe_rgb and form not in _EXIF_FORMATS:
                lost.append("Adobe RGB in EXIF data")
        if not lost:
            return None
        return f"{form} cannot store the color signaling ({', '.join(lost)}); colors may look different"

    def _fits_chromaticities(self, form: str) -> bool:
        if form == "PNG":
            return None not in (self.white_point, self.primaries)
        # Those of PNG files are stored in tags too, but few programs read them there.
        return form in _TAG_FORMATS and self.gamma is None

    def _has_srgb_chromaticities(self) -> bool:
        pairs = ((self.white_point, _SRGB_WHITE_POINT), (self.primaries, _SRGB_PRIMARIES))
        return all(
            abs(value - reference) < 0.002
            for values, references in pairs
            for value, reference in zip(values or references, references, strict=True)
        )


# PNG


def signals_from_png(chunks: dict[bytes, bytes]) -> ColorSignals:
    """Return the color signals in PNG chunks; invalid ones are ignored."""
    code_points, full_range = None, True
    if len(data := chunks.get(b"cICP", b"")) == 4 and data[2] == 0:  # matrix coefficients of RGB
        code_points, full_range = (data[0], data[1]), data[3] == 1
    gamma = int.from_bytes(data, "big") if len(data := chunks.get(b"gAMA", b"")) == 4 else 0
    xy = tuple(v / 100_000 for v in struct.unpack(">8I", data)) if len(data := chunks.get(b"cHRM", b"")) == 32 else ()
    intent = data[0] if len(data := chunks.get(b"sRGB", b"")) == 1 else None
    return ColorSignals(code_points, full_range, gamma / 100_000 or None, xy[:2] or None, xy[2:] or None, intent)


def png_color_chunks(color: ColorSignals, has_profile: bool) -> bytes:
    """Return PNG chunks for color signals."""
    chunks = b""
    if color.code_points:
        chunks += png_chunk(b"cICP", bytes((*color.code_points, 0, color.full_range)))
    if color.gamma:
        chunks += png_chunk(b"gAMA", struct.pack(">I", round(100_000 * color.gamma)))
    if color.white_point and color.primaries:
        xy = (round(100_000 * value) for value in (*color.white_point, *color.primaries))
        chunks += png_chunk(b"cHRM", struct.pack(">8I", *xy))
    if color.srgb_intent is not None and not has_profile:
        chunks += png_chunk(b"sRGB", bytes((color.srgb_intent,)))
    return chunks


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a PNG chunk with length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# TIFF and EXIF


def signals_from_exif(exif: Image.Exif) -> ColorSignals:
    """Return the color signals in EXIF data or TIFF tags; invalid ones are ignored."""
    return ColorSignals(
        white_point=_numbers(exif.get(_WHITE_POINT), 2),
        primaries=_numbers(exif.get(_PRIMARIES), 6),
        transfer_function=_table(exif.get(_TRANSFER_FUNCTION)),
        adobe_rgb=_declares_adobe_rgb(exif),
    )


def add_color_tags(exif: Image.Exif, color: ColorSignals, form: str, bits: int) -> None:
    """Add the color signals that a format stores in tags to EXIF data."""
    if form in _TAG_FORMATS:
        if color.white_point:
            exif[_WHITE_POINT] = color.white_point
        if color.primaries:
            exif[_PRIMARIES] = color.primaries
        if color.fits_transfer_function(bits):
            exif[_TRANSFER_FUNCTION] = color.transfer_function
    if color.adobe_rgb and form in _EXIF_FORMATS:
        exif[_EXIF] = exif.get_ifd(_EXIF) | {_INTEROPERABILITY: {_INDEX: _ADOBE_RGB}}


def color_tags(color: ColorSignals, bits: int) -> list[tuple]:
    """Return the color signals that tags can store as tifffile's tags."""
    tags: list[tuple] = []
    for tag, numbers in ((_WHITE_POINT, color.white_point), (_PRIMARIES, color.primaries)):
        if numbers:
            ratios = [
                part for number in numbers for part in Fraction(number).limit_denominator(10**6).as_integer_ratio()
            ]
            tags.append((tag, _RATIONAL, len(numbers), tuple(ratios), True))
    if color.fits_transfer_function(bits):
        tags.append((_TRANSFER_FUNCTION, _SHORT, len(color.transfer_function), color.transfer_function, True))
    return tags


def _declares_adobe_rgb(exif: Image.Exif) -> bool:
    try:
        return exif.get_ifd(_INTEROPERABILITY).get(_INDEX) == _ADOBE_RGB
    except Exception:  # damaged EXIF data
        return False


def _numbers(values: object, count: int) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(value) for value in values)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return numbers if len(numbers) == count and all(0 <= number <= 2 for number in numbers) else None


def _table(values: object) -> tuple[int, ...] | None:
    # Pillow joins the tables of three channels only if the tag has one count, so each may be a tuple.
    if not isinstance(values, tuple):
        return None
    flat = [v for value in values for v in (value if isinstance(value, tuple) else (value,))]
    return tuple(flat) if all(isinstance(value, int) and 0 <= value < 65_536 for value in flat) else None


# AVIF and HEIC


def nclx_offset(data: bytes) -> int | None:
    """Return the position of the primary item's code points in an AVIF or HEIC file, or None.

    These are 16-bit primaries, transfer function and matrix coefficients. Other items, such as gain maps, have their
    own.
    """
    try:
        meta = next(start for kind, start, _ in _boxes(data, 0, len(data)) if kind == b"meta") + 4
        boxes = {kind: (start, stop) for kind, start, stop in _boxes(data, meta, len(data))}
        start, stop = boxes[b"iprp"]
        properties = {kind: (first, last) for kind, first, last in _boxes(data, start, stop)}
        colors = list(_boxes(data, *properties[b"ipco"]))
        for index in _associations(data, properties[b"ipma"][0], _primary_item(data, boxes[b"pitm"][0])):
            kind, start, _ = colors[index - 1]
            if kind == b"colr" and data[start : start + 4] == b"nclx":
                return start + 4
    except (StopIteration, KeyError, IndexError, struct.error):  # not stored, or damaged
        pass
    return None


def signals_from_nclx(data: bytes) -> ColorSignals:
    """Return the code points of an AVIF or HEIC file."""
    offset = nclx_offset(data)
    if offset is None or len(data) < offset + 4:
        return ColorSignals()
    code_points = struct.unpack_from(">2H", data, offset)
    is_valid = max(code_points) < 256 and code_points != (_UNSPECIFIED, _UNSPECIFIED)
    return ColorSignals(code_points if is_valid else None)


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


def _primary_item(data: bytes, start: int) -> int:
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
