"""Recognition of files that are intact but not supported."""

from __future__ import annotations

import io
import re

_SIGNATURES = (
    (0, b"8BPS", "PSD"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"II\xbc", "JPEG XR"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"#?RGBE", "Radiance HDR"),
    (0, b"gimp xcf", "XCF"),
    (0, b"\0\0\1\0", "ICO"),
    (0, b"icns", "ICNS"),
    (0, b"DDS ", "DDS"),
    (0, b"qoif", "QOI"),
    (0, b"FLIF", "FLIF"),
    (0, b"BPG\xfb", "BPG"),
    (0, b"SIMPLE  =", "FITS"),
    (128, b"DICM", "DICOM"),
    (0, b"\x8aMNG", "MNG"),
    (0, b"\x8bJNG", "JNG"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"FUJIFILMCCD-RAW", "camera RAW"),
    (0, b"IIU\0", "camera RAW"),
    (0, b"IIRO", "camera RAW"),
    (0, b"IIRS", "camera RAW"),
    (0, b"FOVb", "camera RAW"),
    (8, b"CR\2\0", "camera RAW"),
    (4, b"ftypcrx ", "camera RAW"),
    (4, b"ftypqt", "QuickTime video"),
    (4, b"ftypisom", "MP4 video"),
    (4, b"ftypmp4", "MP4 video"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska video"),
    (8, b"AVI ", "AVI video"),
    (0, b"PK\3\4", "ZIP"),
    (12, b"CgBI", "Apple's variant of PNG"),
)
"""Positions and values of the bytes that identify a format."""

_TEXT_FORMATS = ((re.compile(rb"P[1-7Ff]\s"), "PNM"), (re.compile(rb"\s*(<\?xml.*)?<svg", re.DOTALL), "SVG"))
_HEAD = 512  # bytes
_JPEG_START = b"\xff\xd8\xff"
_JPEG_FRAMES = (
    dict.fromkeys((0xC0, 0xC1, 0xC2, 0xC9, 0xCA), "JPEG")
    | dict.fromkeys((0xC3, 0xCB), "lossless JPEG")
    | dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG")
    | {0xF7: "JPEG-LS"}
)
_JPEG_CHANNELS = (1, 3, 4)

_MESSAGES = re.compile(
    "unsupported|not supported|not implemented|not configured|not available|only supports|cannot handle"
    "|samples out of range|not a whole number of bytes|inappropriate photometric",
    re.IGNORECASE,
)


def unsupported_kind(file: io.BufferedReader) -> str | None:
    """Return the kind of a file that no decoder supports, such as ``"PSD"`` or ``"12-bit JPEG"``, or None."""
    file.seek(0)
    head = file.read(_HEAD)
    if head.startswith(_JPEG_START):
        return _unsupported_jpeg(file)
    for position, signature, kind in _SIGNATURES:
        if head.startswith(signature, position):
            return kind
    return next((kind for pattern, kind in _TEXT_FORMATS if pattern.match(head)), None)


def means_unsupported(reason: str) -> bool:
    """Return whether a decoder's error says that it does not support a file, damaged or not."""
    return bool(_MESSAGES.search(reason))


def _unsupported_jpeg(file: io.BufferedReader) -> str | None:
    file.seek(2)
    while len(header := file.read(4)) == 4 and header[0] == 0xFF:
        if header[1] == 0xFF:  # fill byte
            file.seek(-3, io.SEEK_CUR)
        elif header[1] in _JPEG_FRAMES:
            frame = file.read(6)  # bits, height, width, channels
            return _unsupported_frame(_JPEG_FRAMES[header[1]], frame[0], frame[5]) if len(frame) == 6 else None
        else:
            file.seek(int.from_bytes(header[2:], "big") - 2, io.SEEK_CUR)
    return None


def _unsupported_frame(kind: str, bits: int, channels: int) -> str | None:
    if kind != "JPEG":
        return kind
    if bits != 8:
        return f"{bits}-bit JPEG"
    return None if channels in _JPEG_CHANNELS else f"JPEG with {channels} channels"
