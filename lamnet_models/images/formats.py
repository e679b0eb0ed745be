"""What each file format can hold, known before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Format:
    """A file format that pictures are written in.

    Attributes:
        name: Its name, Pillow's too.
        alpha: Whether it holds transparency.
        deep: Whether it holds 16 bits a channel.
        max_side: Most pixels a side.
    """

    name: str
    alpha: bool = False
    deep: bool = False
    max_side: int = 2**31 - 1


_PNG = Format("PNG", alpha=True, deep=True)
_JPEG = Format("JPEG", max_side=65_500)  # the format allows 65,535; libjpeg, which everybody uses, stops here
_WEBP = Format("WEBP", alpha=True, max_side=16_383)
_TIFF = Format("TIFF", alpha=True, deep=True)
_BMP = Format("BMP")

FORMATS = {
    ".png": _PNG,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": _WEBP,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": _BMP,
}
"""Formats by extension."""

WRITABLE = tuple(FORMATS)
"""Extensions, in small letters, of the files that can be written."""

READABLE = (*WRITABLE, ".gif")
"""Extensions, in small letters, of the files that can be read. Files are told apart by content, whatever their name."""


def refusal(extension: str, height: int, width: int, channels: int, dtype: np.dtype | type) -> str | None:
    """Returns why a format cannot hold a picture, or None if it can.

    Args:
        extension: Extension of the file, one of ``WRITABLE`` in any case.
        height: Rows of the picture.
        width: Columns of the picture.
        channels: Channels of the picture; 2 and 4 include alpha.
        dtype: uint8 or uint16.

    Returns:
        A phrase such as ``"JPEG holds no transparency"``.
    """
    form = FORMATS.get(extension.lower())
    if form is None:
        return f"the extension is {extension or 'missing'}, but it must be one of {', '.join(WRITABLE)}"
    if channels in (2, 4) and not form.alpha:
        return f"{form.name} holds no transparency"
    if np.dtype(dtype).itemsize > 1 and not form.deep:
        return f"{form.name} holds no 16-bit colours"
    if max(height, width) > form.max_side:
        return f"{form.name} holds at most {form.max_side:,} pixels a side, not {width:,}x{height:,}"
    return None
