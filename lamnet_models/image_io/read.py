"""Image file reading."""

from __future__ import annotations

import io
import logging
import os
import re
import struct
import sys
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyvips
import tifffile
from PIL import Image, UnidentifiedImageError

from ..errors import ImageError, error_reason, one_line
from . import vips
from .color import ColorSignals, signals_from_exif, signals_from_png
from .formats import heif_formats, means_unsupported, unsupported_kind
from .heif import chroma_format, is_premultiplied, signals_from_heif
from .jpeg import estimate_quality
from .picture import ORIENTATION, Picture, descriptive_exif, exif_dpi, exif_of, from_pillow, valid_dpi
from .pnm import pnm_header, pnm_pixels
from .truncation import is_truncated, lacks_end_marker
from .vips import cmyk_to_rgb, jpeg_damage, matching_profile
from .xmp import descriptive_xmp, xmp_orientation

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF, BigTIFF
_PNM_SIGNATURE = re.compile(rb"P[1-7][\s#]")
_PILLOW_FORMATS = ("JPEG", "WEBP", "GIF", "BMP", "AVIF")
_MAX_PIXELS_PER_BYTE = {
    "PNG": 8 * 1032,  # 1-bit pixels times deflate's maximum ratio
    "JPEG": 512,  # one bit per 8×8 block
    "GIF": 2730,  # the longest 12-bit LZW string
    "BMP": 128,  # runs of 255 pixels in two bytes
}
_BMP_RLE4 = 2
_JPEG_END = b"\xff\xd9"
_TRUNCATED = "truncated: the end of the file is missing"
_END_MISSING = "the end marker is missing; the image is complete"
_JPEG_TRUNCATED = re.compile("premature end|found marker 0xd9 instead of RST", re.IGNORECASE)  # messages of libjpeg
_MAX_METADATA = 1 << 23  # bytes of a PNG chunk
_SMALL = 1 << 24  # number of pixels below which a false size does no harm
_COLOR_SPACES = ("b-w", "grey16", "srgb", "rgb16", "cmyk")  # libvips' names
_VIPS_UNSUPPORTED_TIFF = (
    "compression support is not configured",
    "tiled separate planes not supported",
    "bad labq format",  # CIELAB in 8 bits
)

_MINISBLACK, _RGB, _ALPHA = 1, 2, 2  # values of TIFF tags
_TIFFFILE_KINDS = ((_MINISBLACK,), (_RGB,), (_MINISBLACK, _ALPHA), (_RGB, _ALPHA))
_TIFFFILE_COMPRESSIONS = (1, 5, 8, 32946, 32773, 34925, 50000)  # none, LZW, deflate, PackBits, LZMA, Zstandard
_XMP, _ICC_PROFILE, _SUB_IFDS, _DNG_VERSION = 700, 34675, 330, 50706  # TIFF tags
_REDUCED, _MASK = 1, 4  # flags of pages

for _name in ("PIL", "pyvips", "tifffile"):  # keep log messages on damaged files from the terminal
    logging.getLogger(_name).addHandler(logging.NullHandler())

_pillow_lock = threading.RLock()  # Pillow's pixel limit and warning filters are global


def read_image(path: str | os.PathLike, *, max_pixels: int | None = None) -> Picture:
    """Read a PNG, JPEG, WebP, TIFF, BMP, GIF, PNM, AVIF or, with pillow-heif, HEIC file.

    The format is detected by content. 16-bit channels stay 16-bit, and 10 and 12 bits of AVIF and HEIC become 16-bit;
    others become 8-bit.
    Palettes become RGB, all kinds of transparency an alpha channel; CMYK becomes sRGB, by its profile or, without one,
    by Pillow's formula; CIELAB becomes sRGB. The orientation in EXIF data is applied; without one, that in XMP. ICC
    profile, resolution, and EXIF data and XMP that describe the photograph are kept.

    Args:
        path: The file.
        max_pixels: Maximum number of pixels, against decompression bombs; None for Pillow's limit, twice
            ``PIL.Image.MAX_IMAGE_PIXELS``.

    Raises:
        ImageError: If the file is missing, empty, truncated, damaged, not supported or not an image; if it is animated
            or has several pages (see ``open_frames``); if its samples are not 8- or 16-bit integers; or if it has too
            many pixels.
    """
    with open_for_decoding(path, max_pixels) as file:
        picture = _read(file)
        return replace(picture, notes=(*picture.notes, _END_MISSING)) if lacks_end_marker(file) else picture


def read_rgb(path: str | os.PathLike) -> np.ndarray:
    """Read an image file as 8-bit RGB; gray is repeated, 16 bits rounded to 8, alpha dropped.

    Args:
        path: The file; see [`read_image`][lamnet_models.image_io.read_image].

    Returns:
        (H, W, 3) uint8, contiguous.

    Raises:
        ImageError: If the file cannot be read.
    """
    pixels = read_image(path).pixels
    if pixels.dtype == np.uint16:
        pixels = np.round(pixels / 257).astype(np.uint8)
    colors = pixels[..., : pixels.shape[2] - (pixels.shape[2] + 1) % 2]  # drop alpha, the last of 2 or 4 channels
    return np.ascontiguousarray(np.broadcast_to(colors, (*pixels.shape[:2], 3)))


@contextmanager
def open_for_decoding(path: str | os.PathLike, max_pixels: int | None = None) -> Iterator[io.BufferedReader]:
    """Open an image file within ``decoding``."""
    with decoding(path, max_pixels), open_file(path) as file:
        yield file


def open_file(path: str | os.PathLike) -> io.BufferedReader:
    """Open an image file.

    Raises:
        ImageError: If the file is missing or empty.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError("not a file" if path.exists() else "no such file")
    if not path.stat().st_size:
        raise ImageError("the file is empty")
    return open(path, "rb")


@contextmanager
def decoding(path: str | os.PathLike, max_pixels: int | None = None) -> Iterator[None]:
    """Convert errors of decoders in the block to a one-line ImageError with the file's name."""
    name = one_line(path)
    try:
        with _pillow_lock, _warnings_suppressed(), _pixel_limit(max_pixels):
            yield
    except ImageError as error:
        raise ImageError(f"{name}: {error}", error.option) from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: {error_reason(error)}", option="max_pixels") from None
    except MemoryError:
        raise ImageError(f"{name}: too large for available memory") from None
    except PermissionError as error:
        raise ImageError(f"{name}: cannot read ({error_reason(error)})") from None
    except Exception as error:  # decoders raise arbitrary errors on damaged files
        reason = error_reason(error)
        if means_unsupported(reason):
            raise ImageError(f"{name}: not supported ({reason})") from None
        if _ends_early(path):
            raise ImageError(f"{name}: {_TRUNCATED}") from None
        raise ImageError(f"{name}: damaged, truncated or unsupported ({reason})") from None


def _ends_early(path: str | os.PathLike) -> bool:
    with open(path, "rb") as file:
        return is_truncated(file)


def detect_format(file: io.BufferedReader) -> str:
    """Return ``PNG``, ``TIFF`` or ``PNM`` by signature, ``""`` for formats detected by Pillow.

    Raises:
        ImageError: If the format is known, but not supported.
    """
    if kind := unsupported_kind(file):
        raise ImageError(f"{kind} is not supported")
    file.seek(0)
    head = file.read(8)
    if head == _PNG_SIGNATURE:
        return "PNG"
    if _PNM_SIGNATURE.match(head):
        return "PNM"
    return "TIFF" if head[:4] in _TIFF_SIGNATURES else ""


def open_with_pillow(file: io.BufferedReader) -> Image.Image:
    """Open a file of a format read by Pillow, without decoding it."""
    formats = (*_PILLOW_FORMATS, *heif_formats(file))
    file.seek(0)
    try:
        return Image.open(file, formats=formats)
    except UnidentifiedImageError:
        file.seek(0)
        if file.read(2) != b"BM" and is_truncated(file):  # BM: any text may begin with it
            raise ImageError(_TRUNCATED) from None
        raise ImageError("not a PNG, JPEG, WebP, TIFF, BMP, GIF, PNM, AVIF or HEIC image") from None


def animation_length(image: Image.Image) -> int:
    """Return the number of frames of an image opened by Pillow.

    Additional images in a JPEG (MPO: a gain map or second view) or HEIC file are not counted.
    """
    if image.format not in ("GIF", "WEBP", "AVIF"):
        return 1
    try:
        return getattr(image, "n_frames", 1)
    except IndexError:  # a GIF truncated within its second frame
        image.seek(0)
        return 1


def _read(file: io.BufferedReader) -> Picture:
    file_format = detect_format(file)
    if file_format == "PNG":
        return _read_png(file)
    if file_format == "TIFF":
        return read_tiff(file)
    if file_format == "PNM":
        return read_pnm(file)
    image = open_with_pillow(file)
    if (frames := animation_length(image)) > 1:
        raise ImageError(f"animated image with {frames} frames, not a single image", "frames")
    if "progression" not in image.info:
        _check_file_size(file, image.format, *image.size)
    if image.format == "BMP" and image.info.get("compression") == _BMP_RLE4:
        raise ImageError("4-bit run-length compression of BMP is not supported")  # Pillow misreads odd lengths
    if image.format in ("AVIF", "HEIF"):
        return _read_heif(file, image)
    picture = _read_jpeg(file, image) if image.format in ("JPEG", "MPO") else from_pillow(image)
    if image.format == "BMP" and picture.channels == 4 and not picture.pixels[..., 3].any():
        picture = picture.with_pixels(picture.pixels[..., :3])  # alpha of zeros is padding
    exif = exif_of(image)
    has_dpi = image.format not in ("JPEG", "MPO") or image.info.get("jfif_unit")  # otherwise Pillow's default
    picture = replace(picture, dpi=picture.dpi if has_dpi and picture.dpi else exif_dpi(exif))
    return picture.upright(exif.get(ORIENTATION, 1))


def _read_jpeg(file: io.BufferedReader, image: Image.Image) -> Picture:
    """Convert a JPEG image opened by Pillow, with a note if the end marker is missing or the image data have errors.

    Raises:
        ImageError: If image data are missing; Pillow would fill them with gray.
    """
    file.seek(0)
    data = file.read() + _JPEG_END
    damage = jpeg_damage(data, *image.size)
    if damage and _JPEG_TRUNCATED.search(damage):
        raise ImageError("truncated: image data are missing")
    notes = ("damaged image data, parts may look wrong",) if damage else ()
    try:
        picture = from_pillow(image)
    except OSError:
        picture = from_pillow(Image.open(io.BytesIO(data), formats=("JPEG",)))
        notes = notes or (_END_MISSING,)
    return replace(picture, jpeg_quality=estimate_quality(image), notes=notes)


# PNM


def read_pnm(file: io.BufferedReader) -> Picture:
    """Read a PNM file."""
    file.seek(0)
    data = file.read()
    _, width, height, *_ = pnm_header(data)
    check_pixels(width, height)
    return Picture(pnm_pixels(data))


# AVIF and HEIC


def _read_heif(file: io.BufferedReader, image: Image.Image) -> Picture:
    """Read an AVIF or HEIC image opened by Pillow, which would decode 10 and 12 bits per channel as 8 bits."""
    pixels, bits = _deep_pixels(file, image)
    picture, exif = from_pillow(image, pixels), exif_of(image)
    color, dpi = heif_signals(file, picture.icc_profile), picture.dpi or exif_dpi(exif)
    picture = replace(picture, dpi=dpi, color=color, bit_depth=bits)
    upright = picture.upright(exif.get(ORIENTATION, 1))
    return upright if pixels is None else upright.with_pixels(pixels)


def _deep_pixels(file: io.BufferedReader, image: Image.Image) -> tuple[np.ndarray | None, int | None]:
    """Return the upright pixels, scaled to uint16, and their number of bits in the file; None if these are 8.

    libheif, which both libraries use, repeats subsampled chroma; that of AVIF is interpolated, as by Pillow for 8 bits.
    """
    file.seek(0)
    data = file.read()
    if image.format == "AVIF":
        try:
            opened = vips.open_image(file)
        except pyvips.Error:  # Pillow may support it
            return None, None
        if opened.format != "ushort":
            return None, None
        bits = opened.get("bits-per-sample")
        across, down, matrix = chroma_format(data)
        if exif_of(image).get(ORIENTATION, 1) > 4:  # libheif rotates 4:2:2 as 4:4:4, interpolated
            across = across and down
        opened = vips.interpolate_chroma(opened, across, down, matrix)
    else:
        import pillow_heif

        if (bits := image.info["bit_depth"]) == 8:
            return None, None
        pixels = np.asarray(pillow_heif.open_heif(file, convert_hdr_to_8bit=False))
        opened = vips.from_pixels(pixels.reshape(*pixels.shape[:2], -1))
    largest = 65536 - (1 << (16 - bits))  # the values are in the upper bits
    pixels = vips.decode(opened.linear(65535 / largest, 0).rint().cast("ushort"))
    is_straight = pixels.shape[2] != 4 or not is_premultiplied(data)
    return pixels if is_straight else vips.unpremultiply(pixels), bits


def heif_signals(file: io.BufferedReader, icc_profile: bytes | None) -> ColorSignals:
    """Return the color signals of an AVIF or HEIC file, where an ICC profile takes precedence over them."""
    if icc_profile:
        return ColorSignals()
    file.seek(0)
    return signals_from_heif(file.read())


# PNG


def _read_png(file: io.BufferedReader) -> Picture:
    """Read a PNG file with one image."""
    chunks = small_png_chunks(file)
    if (frames := _png_frame_count(chunks)) > 1:
        raise ImageError(f"animated image with {frames} frames, not a single image", "frames")
    image = vips.open_image(file)
    _check_file_size(file, "PNG", image.width, image.height)
    picture = _to_picture(image, _png_resolution(chunks), *_png_metadata(file))
    return replace(picture, color=signals_from_png(chunks))


def png_frame_count(file: io.BufferedReader) -> int:
    """Return the number of frames of a PNG file; 1 if not animated."""
    return _png_frame_count(small_png_chunks(file))


def _png_frame_count(chunks: dict[bytes, bytes]) -> int:
    control = chunks.get(b"acTL", b"")
    return struct.unpack(">I", control[:4])[0] if len(control) == 8 else 1


def small_png_chunks(file: io.BufferedReader) -> dict[bytes, bytes]:
    """Return the small chunks before the pixel data."""
    chunks: dict[bytes, bytes] = {}
    file.seek(len(_PNG_SIGNATURE))
    while len(header := file.read(8)) == 8:
        length, chunk_type = struct.unpack(">I4s", header)
        if chunk_type == b"IDAT":
            break
        if length <= 32:
            chunks[chunk_type] = file.read(length)
            file.seek(4, os.SEEK_CUR)  # the checksum
        else:
            file.seek(length + 4, os.SEEK_CUR)
    return chunks


def _png_metadata(file: io.BufferedReader) -> tuple[Image.Exif, bytes | None]:
    """Return EXIF data and XMP, which may follow the pixel data, or be hexadecimal text as written by ImageMagick."""
    exif, xmp = Image.Exif(), None
    file.seek(len(_PNG_SIGNATURE))
    while len(header := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        if kind not in (b"eXIf", b"iTXt", b"tEXt", b"zTXt") or length > _MAX_METADATA:
            file.seek(length + 4, os.SEEK_CUR)
            continue
        data = file.read(length)
        file.seek(4, os.SEEK_CUR)  # the checksum
        with suppress(Exception):  # ignore damaged metadata
            name, text = (b"eXIf", data) if kind == b"eXIf" else _png_text(kind, data)
            if name in (b"eXIf", b"Raw profile type exif"):
                found = Image.Exif()
                found.load(text)
                dict(found)
                exif = found
            elif name in (b"XML:com.adobe.xmp", b"Raw profile type xmp"):
                xmp = text
    return exif, xmp


def _png_text(kind: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Return keyword and text of a chunk; hexadecimal profiles are decoded."""
    name, _, text = data.partition(b"\0")
    is_compressed = kind == b"zTXt"
    if kind == b"iTXt":
        is_compressed, text = text[0] == 1, text[2:].split(b"\0", 2)[2]
    elif is_compressed:
        text = text[1:]
    if is_compressed:
        text = zlib.decompressobj().decompress(text, _MAX_METADATA)
    if name.startswith(b"Raw profile type "):
        text = bytes.fromhex(b"".join(text.split()[2:]).decode())  # after type and length
    return name, text


def _png_resolution(chunks: dict[bytes, bytes]) -> tuple[float, float] | None:
    """Return the resolution, None if missing; libvips would return a default."""
    physical = chunks.get(b"pHYs", b"")
    if len(physical) != 9:
        return None
    across, down, unit = struct.unpack(">IIB", physical)
    return valid_dpi((across * 0.0254, down * 0.0254)) if unit == 1 else None


# TIFF


def read_tiff(file: io.BufferedReader, page: int | None = None) -> Picture:
    """Read a TIFF file.

    Args:
        file: The file.
        page: Index of the page, see ``tiff_pages``; None for the only one.

    Raises:
        ImageError: If the file has several pages and ``page`` is None, or the file cannot be read.
    """
    if page is None:
        page, *others = tiff_pages(file)
        if others:
            raise ImageError(f"file with {1 + len(others)} pages, not a single image", "frames")
    try:
        image = vips.open_image(file, page)
        if image.bands == 2 and _is_planar(_tiff_page(file, page)):  # misread by libvips and Pillow
            return _read_tiff_with_tifffile(file, page)
        has_dpi = vips.get_field(image, "resolution-unit") is not None
        dpi = valid_dpi((image.xres * 25.4, image.yres * 25.4)) if has_dpi else None
        return _to_picture(image, dpi, _tiff_exif(file, page), vips.get_field(image, "xmp-data"))
    except pyvips.Error as error:
        if not any(reason in error.detail for reason in _VIPS_UNSUPPORTED_TIFF):
            raise
        directory = _tiff_page(file, page)
        if directory.bitspersample <= 8 and not (directory.samplesperpixel == 2 and _is_planar(directory)):
            with suppress(UnidentifiedImageError):
                return _read_tiff_with_pillow(file, page)
        elif directory.compression in _TIFFFILE_COMPRESSIONS:
            return _read_tiff_with_tifffile(file, page)
        raise


def tiff_pages(file: io.BufferedReader) -> list[int]:
    """Return the indices of a TIFF file's pages, without thumbnails, reduced copies and masks.

    Raises:
        ImageError: If the file is a camera RAW file, whose page is a preview.
    """
    try:
        count = vips.get_field(vips.open_image(file), "n-pages", 1)
    except pyvips.Error:  # other libraries may support it, see read_tiff
        count = None
    file.seek(0)
    try:
        pages = list(tifffile.TiffFile(file).pages)[:count]
        is_raw = _DNG_VERSION in pages[0].tags or (pages[0].subfiletype & _REDUCED and _SUB_IFDS in pages[0].tags)
    except Exception:  # not supported by tifffile
        return list(range(count or 1))
    if is_raw:
        raise ImageError("camera RAW is not supported")
    full = [index for index, page in enumerate(pages) if not page.subfiletype & (_REDUCED | _MASK)]
    return full or list(range(len(pages)))


def _read_tiff_with_pillow(file: io.BufferedReader, page: int | None) -> Picture:
    image = _open_tiff_with_pillow(file, page)
    check_pixels(*image.size)
    with _stderr_suppressed():
        image.load()
    return from_pillow(image).upright(exif_of(image).get(ORIENTATION))


def _tiff_page(file: io.BufferedReader, page: int | None) -> tifffile.TiffPage:
    file.seek(0)
    return tifffile.TiffFile(file).pages[page or 0]


def _is_planar(directory: tifffile.TiffPage) -> bool:
    return directory.planarconfig == tifffile.PLANARCONFIG.SEPARATE


def _read_tiff_with_tifffile(file: io.BufferedReader, page: int | None) -> Picture:
    """Read a TIFF file of gray or RGB, which Pillow would read with 8 bits or not at all.

    Raises:
        ImageError: If image data are missing, or tifffile does not support the file.
    """
    directory = _tiff_page(file, page)
    check_pixels(directory.imagewidth, directory.imagelength)
    kind = directory.photometric, *directory.extrasamples
    if kind not in _TIFFFILE_KINDS or directory.dtype not in (np.uint8, np.uint16):
        raise ImageError("TIFF file of this kind is not supported")
    if not all(directory.databytecounts):
        raise ImageError("truncated: image data are missing")
    try:
        pixels = directory.asarray(maxworkers=1)
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        reason = f"TIFF with {directory.compression.name} compression is not supported without imagecodecs"
        raise ImageError(f"{directory.bitspersample}-bit {reason}") from None
    if _is_planar(directory) and directory.samplesperpixel > 1:
        pixels = np.moveaxis(pixels, 0, 2)
    pixels = np.ascontiguousarray(pixels.reshape(directory.imagelength, directory.imagewidth, -1))
    profile, exif = matching_profile(directory.tags.valueof(_ICC_PROFILE), pixels.shape[2]), _tiff_exif(file, page)
    xmp = directory.tags.valueof(_XMP)
    metadata = (profile, exif_dpi(exif), descriptive_exif(exif), descriptive_xmp(xmp), signals_from_exif(exif))
    return Picture(pixels, *metadata).upright(exif.get(ORIENTATION, xmp_orientation(xmp)))


def _tiff_exif(file: io.BufferedReader, page: int | None) -> Image.Exif:
    """Return the EXIF data, which libvips does not read from TIFF; empty if damaged."""
    exif = Image.Exif()
    try:
        directory = _tiff_page(file, page)
        exif.endian, exif.bigtiff = directory.parent.byteorder, directory.parent.is_bigtiff
        exif.load_from_fp(file, directory.offset)
        dict(exif)
        return exif
    except Exception:
        return Image.Exif()


def _open_tiff_with_pillow(file: io.BufferedReader, page: int | None) -> Image.Image:
    file.seek(0)
    image = Image.open(file, formats=("TIFF",))
    image.seek(page or 0)
    return image


@contextmanager
def _stderr_suppressed() -> Iterator[None]:
    """Redirect file descriptor 2 to null: libtiff reports damaged files there directly."""
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


# Decoding with libvips, and limits


def _to_picture(
    image: pyvips.Image, dpi: tuple[float, float] | None, exif: Image.Exif, xmp: bytes | None = None
) -> Picture:
    """Decode an opened image.

    Args:
        image: From ``vips.open_image``.
        dpi: Resolution before the orientation is applied.
        exif: EXIF data.
        xmp: XMP packet.

    Raises:
        ImageError: If the image is too large or unsupported.
        pyvips.Error: If the file is damaged.
    """
    check_pixels(image.width, image.height)
    is_converted = image.interpretation in ("labs", "cmyk")
    if image.interpretation == "labs":  # CIELAB
        image = image.colourspace("rgb16")
    if image.format not in ("uchar", "ushort"):
        raise ImageError(f"samples must be 8- or 16-bit unsigned integers, got {image.format}")
    if image.interpretation not in _COLOR_SPACES:
        raise ImageError(f"color space {image.interpretation} is not supported")
    profile = vips.get_field(image, "icc-profile-data")
    pixels = vips.decode(image)
    if image.interpretation == "cmyk":
        pixels, profile = cmyk_to_rgb(pixels, profile)
    if pixels.shape[2] > 4:
        raise ImageError(f"channels must be gray, RGB or CMYK and at most one alpha, got {pixels.shape[2]} channels")
    profile = matching_profile(profile, pixels.shape[2])
    color = ColorSignals() if is_converted else signals_from_exif(exif)
    picture = Picture(pixels, profile, dpi, descriptive_exif(exif), descriptive_xmp(xmp), color)
    return picture.upright(exif.get(ORIENTATION, xmp_orientation(xmp) or vips.get_field(image, "orientation")))


@contextmanager
def _pixel_limit(max_pixels: int | None) -> Iterator[None]:
    """Set Pillow's pixel limit within the block; None leaves it unchanged."""
    before = Image.MAX_IMAGE_PIXELS
    if max_pixels is not None:
        Image.MAX_IMAGE_PIXELS = max_pixels / 2
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def check_pixels(width: int, height: int) -> None:
    """Raise ImageError if an image has more than twice ``PIL.Image.MAX_IMAGE_PIXELS`` pixels."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > 2 * limit:
        raise ImageError(
            f"image must have at most {int(2 * limit):,} pixels (decompression bomb limit), got {width:,}×{height:,}",
            option="max_pixels",
        )


def _check_file_size(file: io.BufferedReader, file_format: str | None, width: int, height: int) -> None:
    """Raise ImageError if a file is too short for its pixels, before a decoder allocates them."""
    size, ratio = os.fstat(file.fileno()).st_size, _MAX_PIXELS_PER_BYTE.get(file_format or "")
    if ratio is not None and width * height > max(_SMALL, ratio * size):
        raise ImageError(f"truncated: {size:,} bytes cannot hold {width:,}×{height:,} pixels")


@contextmanager
def _warnings_suppressed() -> Iterator[None]:
    """Suppress Pillow's warnings on recoverable file errors.

    Only in the main thread: warning filters are global, and concurrent threads would restore each other's.
    """
    with warnings.catch_warnings() if threading.current_thread() is threading.main_thread() else nullcontext():
        if threading.current_thread() is threading.main_thread():
            warnings.simplefilter("ignore")
        yield
