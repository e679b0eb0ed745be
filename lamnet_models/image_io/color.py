"""Color signaling other than ICC profiles: PNG chunks, TIFF and EXIF tags, profiles made from them."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from fractions import Fraction

from PIL import Image

from .icc import SRGB_CURVE, make_profile

_WHITE_POINT, _PRIMARIES, _TRANSFER_FUNCTION = 0x013E, 0x013F, 0x012D  # tags of TIFF and EXIF
_SHORT, _RATIONAL = 3, 5  # their types
_SRGB_WHITE_POINT, _SRGB_PRIMARIES = (0.3127, 0.329), (0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_SRGB_GAMMA = 1 / 2.2
_ADOBE_PRIMARIES, _ADOBE_GAMMA = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06), 256 / 563
UNSPECIFIED = 2
"""Code point of ITU-T H.273 for an unknown color space."""

_HDR_TRANSFER = {16: "PQ", 18: "HLG"}  # code points of ITU-T H.273
_D65, _C, _DCI = _SRGB_WHITE_POINT, (0.31, 0.316), (0.314, 0.351)
_CODED_PRIMARIES = {
    1: (_D65, _SRGB_PRIMARIES),
    UNSPECIFIED: (_D65, _SRGB_PRIMARIES),
    4: (_C, (0.67, 0.33, 0.21, 0.71, 0.14, 0.08)),
    5: (_D65, (0.64, 0.33, 0.29, 0.6, 0.15, 0.06)),
    6: (_D65, (0.63, 0.34, 0.31, 0.595, 0.155, 0.07)),
    7: (_D65, (0.63, 0.34, 0.31, 0.595, 0.155, 0.07)),
    8: (_C, (0.681, 0.319, 0.243, 0.692, 0.145, 0.049)),
    9: (_D65, (0.708, 0.292, 0.17, 0.797, 0.131, 0.046)),
    11: (_DCI, (0.68, 0.32, 0.265, 0.69, 0.15, 0.06)),
    12: (_D65, (0.68, 0.32, 0.265, 0.69, 0.15, 0.06)),
    22: (_D65, (0.63, 0.34, 0.295, 0.605, 0.155, 0.077)),
}
# Transfer functions from values to light. Those of video are displayed as sRGB.
_CODED_CURVES = dict.fromkeys((1, UNSPECIFIED, 6, 13, 14, 15), SRGB_CURVE) | {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}
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
        mastering_display: Gamut and luminance of the display on which HDR was graded, as in PNG's mDCV chunk.
        light_level: Maximum and average light of HDR, as in PNG's cLLI chunk.
    """

    code_points: tuple[int, int] | None = None
    full_range: bool = True
    gamma: float | None = None
    white_point: tuple[float, ...] | None = None
    primaries: tuple[float, ...] | None = None
    srgb_intent: int | None = None
    transfer_function: tuple[int, ...] | None = None
    adobe_rgb: bool = False
    mastering_display: bytes | None = None
    light_level: bytes | None = None

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

    def dropped(self, form: str, bits: int, has_profile: bool) -> tuple[str, ...]:
        """Return the names of the color signals that a format has no field for.

        Args:
            form: Pillow's name of the format.
            bits: Bits per channel of the result.
            has_profile: Whether the image has an ICC profile.
        """
        lost = []
        if self.fits_code_points(form):
            hdr = {"mastering display": self.mastering_display, "light level": self.light_level}
            return tuple(name for name, data in hdr.items() if data and form != "PNG")
        if has_profile or (self.srgb_intent is not None and not self.code_points):
            return ()
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
        return tuple(lost)

    def make_profile(self, gray: bool) -> bytes | None:
        """Return an ICC profile with the same meaning, or None for HDR, unknown code points and invalid values.

        Args:
            gray: Whether the profile is for gray images.
        """
        white_point, primaries = self.white_point or _SRGB_WHITE_POINT, self.primaries or _SRGB_PRIMARIES
        curve = 1 / self.gamma if self.gamma and abs(self.gamma - _SRGB_GAMMA) > 0.01 else SRGB_CURVE
        if self.code_points:
            white_point, primaries = _CODED_PRIMARIES.get(self.code_points[0], (None, None))
            curve = _CODED_CURVES.get(self.code_points[1]) if self.full_range else None
        elif self.adobe_rgb:
            white_point, primaries, curve = _SRGB_WHITE_POINT, _ADOBE_PRIMARIES, 1 / _ADOBE_GAMMA
        elif table := self.transfer_function:
            size = len(table) // 3 if len(table) % 3 == 0 else len(table)
            curve = [table[at : at + size] for at in range(0, len(table), size)]
        if white_point is None or curve is None:
            return None
        try:
            return make_profile(white_point, primaries, curve, gray)
        except ValueError:
            return None

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
    return ColorSignals(
        code_points,
        full_range,
        gamma / 100_000 or None,
        xy[:2] or None,
        xy[2:] or None,
        intent,
        mastering_display=data if len(data := chunks.get(b"mDCV", b"")) == 24 else None,
        light_level=data if len(data := chunks.get(b"cLLI", b"")) == 8 else None,
    )


def png_color_chunks(color: ColorSignals, has_profile: bool) -> bytes:
    """Return PNG chunks for color signals."""
    chunks = b""
    if color.code_points:
        chunks += png_chunk(b"cICP", bytes((*color.code_points, 0, color.full_range)))
    if color.mastering_display:
        chunks += png_chunk(b"mDCV", color.mastering_display)
    if color.light_level:
        chunks += png_chunk(b"cLLI", color.light_level)
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
