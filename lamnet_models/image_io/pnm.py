"""PNM files: PBM, PGM, PPM and PAM. Pillow reads colors with 8 bits only, and libvips is often built without them."""

from __future__ import annotations

import re

import numpy as np

from ..errors import ImageError

_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"  # or comments
_SIZE = _SPACE + rb"(\d{1,9})" + _SPACE + rb"(\d{1,9})"
_BITMAP = re.compile(rb"P([14])" + _SIZE + rb"\s")
_PIXMAP = re.compile(rb"P([2356])" + _SIZE + _SPACE + rb"(\d{1,9})\s")
_PAM_HEADER = re.compile(rb"P7\n((?:.*\n)*?)ENDHDR\n")
_PAM_FIELD = re.compile(rb"^[ \t]*(WIDTH|HEIGHT|DEPTH|MAXVAL)[ \t]+(\d{1,9})[ \t\r]*$", re.MULTILINE)
_PAM_FIELDS = (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL")
_TRUNCATED = "truncated: the end of the file is missing"
_MAX_HEADER = 1 << 16  # bytes


def pnm_header(data: bytes) -> tuple[int, int, int, int, int, int]:
    """Return kind (1 to 7), width, height, channels, maximum value and length of the header of a PNM file.

    Raises:
        ImageError: If the header is damaged or not supported.
    """
    head = data[:_MAX_HEADER]
    if match := _BITMAP.match(head):
        kind, width, height, channels, top = *map(int, match.groups()), 1, 1
    elif match := _PIXMAP.match(head):
        kind, width, height, top = map(int, match.groups())
        channels = 3 if kind in (3, 6) else 1
    elif match := _PAM_HEADER.match(head):
        fields = dict(_PAM_FIELD.findall(match[1]))
        kind, (width, height, channels, top) = 7, (int(fields.get(name, 0)) for name in _PAM_FIELDS)
    else:
        raise ImageError("damaged or truncated: the PNM header is not valid")
    if not (width and height and 1 <= top <= 65535 and 1 <= channels <= 4):
        raise ImageError(f"PNM of {width}×{height} with {channels} channels and maximum {top} is not supported")
    return kind, width, height, channels, top, match.end()


def pnm_pixels(data: bytes) -> np.ndarray:
    """Return the pixels of a PNM file, (H, W, C), scaled to 8 bits, or to 16 bits if the maximum value is above 255.

    Raises:
        ImageError: If the file is damaged, truncated or not supported.
    """
    kind, width, height, channels, top, start = pnm_header(data)
    count = height * width * channels
    if kind <= 3:
        text = re.sub(rb"#[^\r\n]*", b"", data[start:])
        numbers = re.sub(rb"\s", b"", text) if kind == 1 else text.split(None, count)[:count]
        values = np.frombuffer(numbers, np.uint8)[:count] - 48 if kind == 1 else np.array(numbers, np.uint32)
        rest = b""
    else:
        row = -(-width // 8) if kind == 4 else width * channels
        dtype = np.dtype(np.uint8 if top < 256 else ">u2")
        stop = start + height * row * dtype.itemsize
        if stop > len(data):
            raise ImageError(_TRUNCATED)
        values, rest = np.frombuffer(data[start:stop], dtype), data[stop:]
        if kind == 4:
            values = np.unpackbits(values.reshape(height, row), axis=1)[:, :width]
    if values.size < count:
        raise ImageError(_TRUNCATED)
    if rest.lstrip().startswith(b"P"):
        raise ImageError("PNM file with several images is not supported")
    if values.max() > top:
        raise ImageError(f"damaged: value {values.max()} is above the maximum {top}")
    values = values.reshape(height, width, channels)
    if kind in (1, 4):
        values = 1 - values  # 1 is black
    scaled = np.uint8 if top < 256 else np.uint16
    full = np.iinfo(scaled).max
    return values.astype(scaled) if top == full else np.rint(values * np.float32(full / top)).astype(scaled)
