"""Image file formats: capabilities, optional HEIC support by pillow-heif, recognition of unsupported files."""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import ImageError

HAS_HEIF = importlib.util.find_spec("pillow_heif") is not None
"""Whether HEIC files can be read and written."""

HEIF_MISSING = "HEIC requires pillow-heif: pip install 'lamnet[heic]'"

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_SHARED_BRANDS = (b"mif1", b"msf1")  # also used by AVIF


@dataclass(frozen=True)
class Format:
    """Capabilities of an output format.

    Attributes:
        name: Pillow's name of the format.
        alpha: Whether it supports transparency.
        deep: Whether it supports more than 8 bits per channel: 16, in AVIF and HEIC 10 or 12.
        frames: Whether it supports several images per file.
        hdr: Whether it can signal HDR transfer functions (PQ, HLG).
        max_side: Maximum pixels per side.
        max_pixels: Maximum number of pixels.
    """

    name: str
    alpha: bool = False
    deep: bool = False
    frames: bool = False
    hdr: bool = False
    max_side: int = 2**31 - 1
    max_pixels: int = 2**62


_PNG = Format("PNG", alpha=True, deep=True, frames=True, hdr=True)
_JPEG = Format("JPEG", max_side=65_500)  # limit of libjpeg; the format allows 65,535
_WEBP = Format("WEBP", alpha=True, frames=True, max_side=16_383)
_TIFF = Format("TIFF", alpha=True, deep=True, frames=True)
_BMP = Format("BMP")
# Default limits of the decoders libavif and libheif; the formats allow more.
_AVIF = Format("AVIF", alpha=True, deep=True, hdr=True, max_side=32_768, max_pixels=2**28)
_HEIC = Format("HEIF", alpha=True, deep=True, hdr=True, max_side=16_384, max_pixels=2**28)
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
"""Formats with several images per file, by extension; GIF, limited to 256 colors, is written for animations only."""

WRITABLE = tuple(extension for extension, form in FORMATS.items() if form is not _HEIC or HAS_HEIF)
"""Lowercase extensions of writable files."""

ALIASES = {".apng": ".png", ".dib": ".bmp", ".heif": ".heic", ".jfif": ".jpg", ".jpe": ".jpg"}
"""Alternative extensions, mapped to the standard ones."""

_PNM = (".pbm", ".pgm", ".pnm", ".ppm", ".pam")

READABLE = (*FORMATS, ".gif", *ALIASES, *_PNM)
"""Lowercase extensions of readable files. Formats are detected by content, not by name."""


def result_extension(source: Path, writable: Sequence[str]) -> str:
    """Return the extension of a result in the format of its source, or ``".png"`` if that is not among ``writable``."""
    extension = ALIASES.get(source.suffix.lower(), source.suffix)
    return extension if extension.lower() in writable else ".png"


def unsupported_reason(
    extension: str,
    height: int,
    width: int,
    channels: int,
    dtype: np.dtype | type,
    frames: bool = False,
    hdr: str | None = None,
) -> str | None:
    """Return the reason why a format does not support an image, or None if it does.

    Args:
        extension: File extension, one of ``WRITABLE``, in any case.
        height: Rows of the image.
        width: Columns of the image.
        channels: Number of channels; 2 and 4 include alpha.
        dtype: uint8 or uint16.
        frames: Whether the image is one of several in the file.
        hdr: Name of the image's HDR transfer function; None for SDR.

    Returns:
        A phrase such as ``"JPEG does not support transparency"``.
    """
    known = FRAME_FORMATS if frames else FORMATS
    form = known.get(extension.lower())
    if form is None and extension.lower() in FORMATS:
        return f"{FORMATS[extension.lower()].name} supports only one image per file"
    if form is None:
        return f"extension must be one of {', '.join(known)}, got {extension or 'none'}"
    if form is _HEIC and not HAS_HEIF:
        return HEIF_MISSING
    if channels in (2, 4) and not form.alpha:
        return f"{form.name} does not support transparency"
    if np.dtype(dtype).itemsize > 1 and not form.deep:
        return f"{form.name} does not support 16-bit colors"
    if hdr and not form.hdr:
        return f"{form.name} does not support HDR colors ({hdr})"
    if max(height, width) > form.max_side:
        return f"{form.name} supports at most {form.max_side:,} pixels per side, got {width:,}x{height:,}"
    if height * width > form.max_pixels:
        return f"{form.name} supports at most {form.max_pixels:,} pixels, got {width:,}x{height:,}"
    return None


def heif_formats(file: io.BufferedReader) -> tuple[str, ...]:
    """Return ``("HEIF",)`` if a file may be HEIC, after registering the format, else ``()``.

    Raises:
        ImageError: If the file is HEIC and pillow-heif is missing.
    """
    file.seek(0)
    head = file.read(12)
    if head[4:8] != b"ftyp" or head[8:] not in (*_HEIC_BRANDS, *_SHARED_BRANDS):
        return ()
    if HAS_HEIF:
        register_heif()
        return ("HEIF",)
    if head[8:] in _HEIC_BRANDS:
        raise ImageError(HEIF_MISSING)
    return ()


def register_heif() -> None:
    """Register the format with Pillow."""
    if "HEIF" not in Image.OPEN:
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)


# Files that are intact but not supported

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

_TEXT_FORMATS = ((re.compile(rb"P[Ff]\s"), "PFM"), (re.compile(rb"\s*(<\?xml.*)?<svg", re.DOTALL), "SVG"))
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
