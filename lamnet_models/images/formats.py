"""What each file format can hold, known before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import heif


@dataclass(frozen=True)
class Format:
    """A file format that pictures are written in.

    Attributes:
        name: Its name, Pillow's too.
        alpha: Whether it holds transparency.
        deep: Whether it holds 16 bits a channel.
        frames: Whether it holds several pictures.
        max_side: Most pixels a side.
        max_pixels: Most pixels.
    """

    name: str
    alpha: bool = False
    deep: bool = False
    frames: bool = False
    max_side: int = 2**31 - 1
    max_pixels: int = 2**62


_PNG = Format("PNG", alpha=True, deep=True, frames=True)
_JPEG = Format("JPEG", max_side=65_500)  # the format allows 65,535; libjpeg, which everybody uses, stops here
_WEBP = Format("WEBP", alpha=True, frames=True, max_side=16_383)
_TIFF = Format("TIFF", alpha=True, deep=True, frames=True)
_BMP = Format("BMP")
# The formats allow more, but the libraries that everybody reads them with, libavif and libheif, do not by default.
_AVIF = Format("AVIF", alpha=True, max_side=32_768, max_pixels=2**28)
_HEIC = Format("HEIF", alpha=True, max_side=16_384, max_pixels=2**28)
_GIF = Format("GIF", alpha=True, frames=True, max_side=65_535)

FORMATS = {
    ".png": _PNG,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": _WEBP,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": _BMP,
    ".avif": _AVIF,
    ".heic": _HEIC,
}
"""Formats by extension."""

FRAME_FORMATS = {extension: form for extension, form in FORMATS.items() if form.frames} | {".gif": _GIF}
"""Formats that hold several pictures, by extension; GIF, of 256 colours, is written for animations only."""

WRITABLE = tuple(extension for extension, form in FORMATS.items() if form is not _HEIC or heif.IS_INSTALLED)
"""Extensions, in small letters, of the files that can be written."""

ALIASES = {".apng": ".png", ".dib": ".bmp", ".heif": ".heic", ".jfif": ".jpg", ".jpe": ".jpg"}
"""Other extensions that files of some formats have, with the usual one."""

READABLE = (*FORMATS, ".gif", *ALIASES)
"""Extensions, in small letters, of the files that can be read. Files are told apart by content, whatever their name."""


def unsupported_reason(
    extension: str, height: int, width: int, channels: int, dtype: np.dtype | type, frames: bool = False
) -> str | None:
    """Returns why a format cannot hold a picture, or None if it can.

    Args:
        extension: Extension of the file, one of ``WRITABLE`` in any case.
        height: Rows of the picture.
        width: Columns of the picture.
        channels: Channels of the picture; 2 and 4 include alpha.
        dtype: uint8 or uint16.
        frames: Whether the picture is one of several.

    Returns:
        A phrase such as ``"JPEG holds no transparency"``.
    """
    known = FRAME_FORMATS if frames else FORMATS
    form = known.get(extension.lower())
    if form is None and extension.lower() in FORMATS:
        return f"{FORMATS[extension.lower()].name} holds one picture only"
    if form is None:
        return f"the extension is {extension or 'missing'}, but it must be one of {', '.join(known)}"
    if form is _HEIC and not heif.IS_INSTALLED:
        return heif.MISSING
    if channels in (2, 4) and not form.alpha:
        return f"{form.name} holds no transparency"
    if np.dtype(dtype).itemsize > 1 and not form.deep:
        return f"{form.name} holds no 16-bit colours"
    if max(height, width) > form.max_side:
        return f"{form.name} holds at most {form.max_side:,} pixels a side, not {width:,}x{height:,}"
    if height * width > form.max_pixels:
        return f"{form.name} holds at most {form.max_pixels:,} pixels, not {width:,}x{height:,}"
    return None
