"""Image file writing."""

from __future__ import annotations

import io
import mmap
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
import tifffile
from PIL import Image, PngImagePlugin, TiffImagePlugin, TiffTags

from ..errors import ImageError, error_reason, one_line
from ..filesystem import atomic_path
from . import vips
from .color import png_chunk, png_color_chunks
from .formats import FORMATS, FRAME_FORMATS, register_heif, unsupported_reason
from .heif import nclx_offset, with_header_code_points
from .picture import EXIF, GPS, Picture, exif_for, fits_jfif, to_pillow
from .vips import to_srgb

_WITHOUT_GRAY = ("WEBP", "AVIF", "HEIF")
_PREDICTOR, _HORIZONTAL, _XMP = 317, 2, 700  # TIFF tags and values
_MAX_JPEG_XMP = 65_000  # bytes
_TIFF_ENTRY = 12  # bytes
_RESOLUTION_UNIT, _NO_UNIT = 296, 1  # TIFF tag and value
_PNG_HEADER = 33  # bytes of signature and IHDR
_JPEG_HEADER = 2  # bytes of the start marker
_AVIF_EFFORT = 2  # as fast as Pillow's default; the default of libvips takes ten times as long
_MAX_HEIF_BITS = 12  # bits per channel of AVIF and HEIC
_USER_COMMENT = 0x9286  # EXIF tag
_YCBCR_MATRIX = 6  # matrix coefficients by which Pillow and pillow-heif encode

_STREAMED = ("PNG", "TIFF", "JPEG")
# Bytes per pixel as measured, by format and bytes per channel.
_ENCODER_MEMORY = {("BMP", 1): 4, ("WEBP", 1): 48, ("AVIF", 1): 70, ("HEIF", 1): 70, ("AVIF", 2): 110, ("HEIF", 2): 110}
STREAMING_THRESHOLD = 2**25
"""Bytes of pixels above which formats that support it are written row by row."""


def encoder_memory(extension: str, height: int, width: int, dtype: np.dtype | type = np.uint8) -> int:
    """Return the additional memory in bytes to write an image with alpha; 0 for row-wise formats."""
    form = FORMATS[extension.lower()].name
    return _ENCODER_MEMORY.get((form, np.dtype(dtype).itemsize), 0) * height * width


def fit_alpha(extension: str, picture: Picture, background: str | None = None) -> Picture:
    """Return a picture without alpha channel if the format has none and nothing is lost.

    Args:
        extension: Extension of the format.
        picture: The picture; returned unchanged if it is transparent and ``background`` is None.
        background: Color to blend transparent pixels onto.
    """
    form = FORMATS.get(extension.lower())
    if picture.channels in (1, 3) or form is None or form.alpha:
        return picture
    if picture.is_opaque:
        return picture.with_pixels(picture.pixels[..., :-1])
    return picture if background is None else picture.flattened(background)


def write_image(path: str | os.PathLike, picture: Picture, *, quality: int = 95, background: str | None = None) -> None:
    """Write a picture atomically, in the format given by the extension.

    PNG and TIFF are lossless. All formats keep the resolution; all but BMP the ICC profile, EXIF data and XMP. Colors
    are converted to sRGB for BMP, which has no profile, and so is gray with a profile for WebP, AVIF and HEIC, which
    have no gray mode. Other color signals are stored where the format has a field for them, otherwise as an ICC
    profile. The rest is dropped, see ``dropped_color``, except HDR, which is an error.

    Args:
        path: The file; an existing one is replaced. Its folder is created if missing.
        picture: Picture to write.
        quality: Quality of JPEG, WebP, AVIF and HEIC, 1 to 100.
        background: Color to blend transparent pixels onto, such as ``"white"`` or ``"#rrggbb"``, for formats without
            alpha; None: these raise an error for pictures that are not opaque.

    Raises:
        ImageError: If the format does not support the picture, or the file cannot be written.
        ValueError: If ``quality`` is out of range or ``background`` is not a color.
    """
    path = Path(path)
    name = one_line(path)
    if not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ValueError(f"quality must be an integer from 1 to 100, got {quality!r}")
    picture = fit_alpha(path.suffix, picture, background)
    if problem := unsupported_reason(path.suffix, *picture.pixels.shape, picture.pixels.dtype, hdr=picture.color.hdr):
        raise ImageError(f"{name}: {problem}")
    try:
        with atomic_path(path) as temporary, open(temporary, "w+b") as file:
            _write(file, path.suffix.lower(), picture, quality)
    except (OSError, ValueError, LookupError, RuntimeError, pyvips.Error) as error:
        raise ImageError(f"{name}: cannot write ({error_reason(error)})") from None


def dropped_color(extension: str, picture: Picture) -> str | None:
    """Return a warning if a file in a format is written without color signals of a picture, otherwise None."""
    form = (FORMATS | FRAME_FORMATS)[extension.lower()].name
    lost = _dropped(with_color_profile(picture, form), form)
    return f"{form} is written without {', '.join(lost)}; colors may look different" if lost else None


def with_color_profile(picture: Picture, form: str) -> Picture:
    """Return a picture with an ICC profile made from its color signals if a format has no field for them.

    Args:
        picture: The picture.
        form: Pillow's name of the format. For those without profiles, call ``convert_to_srgb`` afterwards.
    """
    if picture.icc_profile or picture.color.fits_code_points(form) or not _dropped(picture, form):
        return picture
    return replace(picture, icc_profile=picture.color.make_profile(gray=picture.channels < 3))


def convert_to_srgb(picture: Picture) -> Picture:
    """Return a picture with its ICC profile applied; without one, or with a damaged one, the same pixels."""
    if not picture.icc_profile:
        return picture
    pixels, profile = to_srgb(picture.pixels, picture.icc_profile) or (picture.pixels, None)
    return replace(picture, pixels=pixels, icc_profile=profile)


def _dropped(picture: Picture, form: str) -> tuple[str, ...]:
    return picture.color.dropped(form, 8 * picture.pixels.dtype.itemsize, picture.icc_profile is not None)


def _write(file: io.BufferedRandom, extension: str, picture: Picture, quality: int) -> None:
    form = FORMATS[extension].name
    if form in ("AVIF", "HEIF") and picture.color.fits_code_points(form):
        picture = replace(picture, icc_profile=None)  # it would take precedence
    picture = with_color_profile(picture, form)
    if picture.pixels.dtype == np.uint16 and form in ("AVIF", "HEIF"):
        _write_deep_heif(file, picture, form, quality)
        return
    # Pillow copies all pixels first, which may be memory-mapped because memory is short.
    if picture.pixels.dtype == np.uint16 or (form in _STREAMED and picture.pixels.nbytes > STREAMING_THRESHOLD):
        _write_with_vips(file, picture, extension, quality)
    else:
        _write_with_pillow(file, picture, form, quality)
    if form == "PNG":
        add_png_chunks(file, png_color_chunks(picture.color, picture.icc_profile is not None))
    elif form == "TIFF" and (exif := exif_for(picture, form)):
        add_tiff_exif(file, exif)
    elif form == "AVIF" and picture.color.fits_code_points(form):
        _set_code_points(file, picture.color.code_points)


def _write_with_pillow(file: io.BufferedRandom, picture: Picture, form: str, quality: int) -> None:
    if form == "BMP" or (form in _WITHOUT_GRAY and picture.channels < 3):
        picture = convert_to_srgb(picture)
    options: dict[str, object] = {}
    if form == "JPEG":
        options = {"quality": quality, "subsampling": 0}  # no chroma subsampling
    elif form == "AVIF":
        options = {"quality": quality, "subsampling": "4:4:4"}
    elif form == "HEIF":
        register_heif()
        options = {"quality": quality, "chroma": 444}
        if picture.color.fits_code_points(form):
            options |= _nclx_options(picture.color.code_points)
    elif form == "WEBP":
        options = {"quality": quality}
    elif form == "TIFF":
        options = {
            "compression": "tiff_adobe_deflate",
            "tiffinfo": {_PREDICTOR: _HORIZONTAL} | ({_XMP: picture.xmp} if picture.xmp else {}),
            "big_tiff": picture.pixels.nbytes > 2**31,
        }
    exif = exif_for(picture, form)
    if exif and form not in ("BMP", "TIFF"):
        options["exif"] = exif
    if picture.xmp and form == "PNG":
        options["pnginfo"] = png_xmp(picture.xmp)
    elif picture.xmp and form != "TIFF" and (form != "JPEG" or len(picture.xmp) < _MAX_JPEG_XMP):
        options["xmp"] = picture.xmp
    if picture.icc_profile:
        options["icc_profile"] = picture.icc_profile
    if form == "BMP" or (picture.dpi and (form != "JPEG" or fits_jfif(picture.dpi))):
        options["dpi"] = picture.dpi or (0, 0)  # otherwise Pillow writes 96 dpi
    to_pillow(picture).save(file, form, **options)


def _write_with_vips(file: io.BufferedRandom, picture: Picture, extension: str, quality: int) -> None:
    """Write a picture as PNG, TIFF or JPEG, row by row, without copying its pixels.

    EXIF data are added afterwards, because libvips would add the resolution to them.
    """
    image = vips.from_pixels(picture.pixels, picture.icc_profile)
    if picture.dpi:
        image = image.copy(xres=picture.dpi[0] / 25.4, yres=picture.dpi[1] / 25.4)  # pixels per millimeter
    if picture.xmp:
        image.set_type(pyvips.GValue.blob_type, "xmp-data", picture.xmp)
    options: dict[str, Any] = {"filter": "all"}  # PNG: adaptive filters, the default of encoders
    if extension in (".jpg", ".jpeg"):
        options = {"Q": quality, "subsample_mode": "off"}
    elif extension != ".png":
        options = {"compression": "deflate", "predictor": "horizontal", "bigtiff": picture.pixels.nbytes > 2**31}
    target = pyvips.Target.new_to_descriptor(file.fileno())
    image.write_to_target(target, extension, keep="icc|xmp", **options)
    if extension in (".jpg", ".jpeg"):
        _replace(file, _JPEG_HEADER, _JPEG_HEADER, _jpeg_segments(picture))
        return
    if picture.dpi is None:
        _remove_resolution(file, extension)
    if extension == ".png" and (exif := exif_for(picture, "PNG")):
        add_png_chunks(file, png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))


def _write_deep_heif(file: io.BufferedRandom, picture: Picture, form: str, quality: int) -> None:
    """Write AVIF by libvips or HEIC by pillow-heif with the picture's bit depth, or 12; Pillow would write 8 bits."""
    bits = picture.bit_depth or _MAX_HEIF_BITS
    if picture.channels < 3:
        picture = convert_to_srgb(picture)
    pixels = np.empty_like(picture.pixels)
    for row, source in enumerate(picture.pixels):  # both encoders use the upper bits, without rounding
        pixels[row] = np.rint(source * np.float32((2**bits - 1) / 65535)).astype(np.uint16) << (16 - bits)
    exif = exif_for(picture, form)
    exif_data = exif.tobytes() if exif else b""
    has_code_points = picture.color.fits_code_points(form)
    if form == "HEIF":
        import pillow_heif

        options: dict[str, Any] = {"quality": quality, "chroma": 444, "bit_depth": bits}
        options |= {"exif": exif_data or None, "xmp": picture.xmp, "icc_profile": picture.icc_profile}
        if has_code_points:
            options |= _nclx_options(picture.color.code_points)
        mode = ("L;16", "LA;16", "RGB;16", "RGBA;16")[picture.channels - 1]
        pillow_heif.encode(mode, (picture.width, picture.height), pixels.tobytes(), file, **options)
        return
    image = vips.from_pixels(pixels, picture.icc_profile)
    if picture.xmp:
        image.set_type(pyvips.GValue.blob_type, "xmp-data", picture.xmp)
    if exif_data:
        image.set_type(pyvips.GValue.blob_type, "exif-data", _exif_of_size(len(exif_data)))
    keep = "icc|xmp|exif" if exif_data else "icc|xmp"
    options = {"compression": "av1", "Q": quality, "effort": _AVIF_EFFORT, "subsample_mode": "off", "keep": keep}
    data = image.heifsave_buffer(bitdepth=bits, **options)
    if exif_data:  # libvips would add entries
        written = Image.open(io.BytesIO(data)).info["exif"]
        data = data.replace(written, exif_data.ljust(len(written), b"\0"))
    file.write(with_header_code_points(data, picture.color.code_points) if has_code_points else data)


def _exif_of_size(size: int) -> bytes:
    """Return EXIF data of at least a number of bytes."""
    exif = Image.Exif()
    exif.get_ifd(EXIF)[_USER_COMMENT] = bytes(size)
    return exif.tobytes()


def _nclx_options(code_points: tuple[int, int]) -> dict[str, int]:
    """Return code points as pillow-heif's options."""
    primaries, transfer = code_points
    options = {"color_primaries": primaries, "transfer_characteristics": transfer}
    return options | {"matrix_coefficients": _YCBCR_MATRIX, "full_range_flag": 1}


def _jpeg_segments(picture: Picture) -> bytes:
    """Return the segments of a JPEG file with resolution and EXIF data."""
    unit, *density = (1, *map(round, picture.dpi)) if fits_jfif(picture.dpi) else (0, 1, 1)
    segments = b"\xff\xe0\0\x10JFIF\0\1\1" + struct.pack(">BHHBB", unit, *density, 0, 0)
    if exif := exif_for(picture, "JPEG"):
        data = exif.tobytes()
        segments += b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data
    return segments


def _remove_resolution(file: io.BufferedRandom, extension: str) -> None:
    """Remove the resolution from a PNG or TIFF file written by libvips, which always writes one."""
    if extension != ".png":
        file.seek(0)
        with tifffile.TiffFile(file, mode="r+b") as tiff:
            tiff.pages[0].tags[_RESOLUTION_UNIT].overwrite(_NO_UNIT)
        return
    start, kind = _PNG_HEADER, b""
    while kind != b"IDAT":
        file.seek(start)
        length, kind = struct.unpack(">I4s", file.read(8))
        if kind == b"pHYs":
            _replace(file, start, start + 12 + length, b"")
            return
        start += 12 + length


def png_xmp(packet: bytes) -> PngImagePlugin.PngInfo:
    """Return an XMP packet as Pillow's option for PNG."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet.decode(errors="replace"))
    return info


def add_png_chunks(file: io.BufferedRandom, chunks: bytes) -> None:
    """Add chunks to a PNG file, before its other chunks."""
    if chunks:
        _replace(file, _PNG_HEADER, _PNG_HEADER, chunks)


def _replace(file: io.BufferedRandom, start: int, stop: int, data: bytes) -> None:
    """Replace bytes of a file; the following bytes are moved."""
    size, shift = file.seek(0, io.SEEK_END), len(data) - (stop - start)
    file.write(bytes(max(0, shift)))  # allocates disk space
    file.flush()
    with mmap.mmap(file.fileno(), 0) as content:
        content.move(stop + shift, stop, size - stop)
        content[start : start + len(data)] = data
    file.truncate(size + shift)


def _set_code_points(file: io.BufferedRandom, code_points: tuple[int, int]) -> None:
    """Set the code points of an AVIF file, which Pillow writes as those of sRGB."""
    file.seek(0)
    offset = nclx_offset(file.read())
    if offset is None:
        raise ValueError("the color signaling cannot be stored")
    file.seek(offset)
    file.write(struct.pack(">2H", *code_points))


def add_tiff_exif(file: io.BufferedRandom, exif: Image.Exif) -> None:
    """Add EXIF data to the first page of a TIFF file: append an extended directory that replaces its own.

    A BigTIFF is left unchanged.
    """
    file.seek(0)
    if file.read(4) != b"II*\0":
        return
    (start,) = struct.unpack("<I", file.read(4))
    file.seek(start)
    (count,) = struct.unpack("<H", file.read(2))
    entries = dict(_entries_by_tag(file.read(_TIFF_ENTRY * count)))
    (following,) = struct.unpack("<I", file.read(4))
    offset = (file.seek(0, io.SEEK_END) + 1) & ~1
    added = _directory(exif).tobytes(offset)
    (count,) = struct.unpack("<H", added[:2])
    entries |= dict(_entries_by_tag(added[2 : 2 + _TIFF_ENTRY * count]))
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
    chunks = [entries[at : at + _TIFF_ENTRY] for at in range(0, len(entries), _TIFF_ENTRY)]
    return [(struct.unpack("<H", chunk[:2])[0], chunk) for chunk in chunks]
