"""Picture: a decoded image with its metadata, and its conversion from and to Pillow."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageColor

from .color import ColorSignals, add_color_tags, signals_from_exif
from .vips import cmyk_to_rgb, matching_profile
from .xmp import descriptive_xmp, xmp_without_regions

_ARTIFACTS_BELOW = 90  # JPEG quality


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image, in upright orientation, with its metadata.

    Attributes:
        pixels: (H, W, C), uint8 or uint16, full range; C is 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGBA). Alpha is
            straight, not premultiplied.
        icc_profile: ICC profile, gray or RGB like the pixels; None for sRGB.
        dpi: Horizontal and vertical resolution in pixels per inch; None if unknown.
        exif: Descriptive EXIF data (author, date, location, camera), beginning with a TIFF header, without tags that
            depend on the pixels, such as size and orientation.
        xmp: XMP packet, without statements about the pixels or the file.
        color: Color signaling other than the ICC profile.
        bit_depth: Bits per channel of the file if it stores 10 or 12, which are scaled to 16-bit pixels.
        jpeg_quality: Estimated quality of the JPEG file it was read from, 1 to 100; None for other formats.
        notes: Warnings about the file it was read from.

    Raises:
        ValueError: If the pixels have another shape or dtype.
    """

    pixels: np.ndarray
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    color: ColorSignals = field(default_factory=ColorSignals)
    bit_depth: int | None = None
    jpeg_quality: int | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] not in (1, 2, 3, 4) or 0 in self.pixels.shape:
            raise ValueError(
                f"pixels must be (H, W, C) with 1 to 4 channels, H and W ≥ 1, got shape {self.pixels.shape}"
            )
        if self.pixels.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"pixels must be uint8 or uint16, got {self.pixels.dtype}")

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.pixels.shape[1]

    @property
    def channels(self) -> int:
        """Number of channels, alpha included."""
        return self.pixels.shape[2]

    def with_pixels(self, pixels: np.ndarray) -> Picture:
        """Return a copy with other pixels."""
        return replace(self, pixels=pixels)

    def without_metadata(self) -> Picture:
        """Return a copy without EXIF data and XMP."""
        return replace(self, exif=None, xmp=None)

    @property
    def has_jpeg_artifacts(self) -> bool:
        """Whether it was read from a JPEG file of a quality below 90, whose artifacts upscaling would enlarge."""
        return self.jpeg_quality is not None and self.jpeg_quality < _ARTIFACTS_BELOW

    @property
    def is_opaque(self) -> bool:
        """Whether all pixels are opaque, or there is no alpha channel."""
        return self.channels in (1, 3) or self.pixels[..., -1].min() == np.iinfo(self.pixels.dtype).max

    def flattened(self, background: str) -> Picture:
        """Return a copy without alpha channel, blended onto a background.

        Args:
            background: Color in the image's color space, see ``parse_color``. Gray images become RGB unless it is gray.
        """
        if self.channels in (1, 3):
            return self
        color = np.array(parse_color(background), np.float32) * (np.iinfo(self.pixels.dtype).max / 255)
        if self.channels == 2 and (color == color[0]).all():
            color = color[:1]
        pixels = np.empty((self.height, self.width, len(color)), self.pixels.dtype)
        for row, source in enumerate(self.pixels):  # row by row, without floating-point copies of the image
            alpha = source[:, -1:] / np.float32(np.iinfo(source.dtype).max)
            pixels[row] = np.rint(source[:, :-1] * alpha + color * (1 - alpha))
        return replace(self, pixels=pixels, icc_profile=matching_profile(self.icc_profile, len(color)))

    def upright(self, orientation: object) -> Picture:
        """Return a copy with an EXIF orientation applied (1 to 8, other values count as 1)."""
        pixels, dpi, xmp = self.pixels, self.dpi, self.xmp
        if orientation in range(2, 9):
            xmp = xmp_without_regions(xmp)
        if orientation in (5, 6, 7, 8):
            pixels = pixels.swapaxes(0, 1)
            dpi = dpi and dpi[::-1]
        if orientation in (3, 4, 7, 8):
            pixels = pixels[::-1]
        if orientation in (2, 3, 6, 7):
            pixels = pixels[:, ::-1]
        return replace(self, pixels=np.ascontiguousarray(pixels), dpi=dpi, xmp=xmp)


def parse_color(color: str) -> tuple[int, int, int]:
    """Return the RGB values of an opaque color: a name, ``"#rrggbb"``, or another notation of Pillow's ``ImageColor``.

    Raises:
        ValueError: If the color is unknown or not opaque.
    """
    try:
        red, green, blue, *alpha = ImageColor.getrgb(color)
    except (AttributeError, TypeError, ValueError):
        alpha = [0]
    if alpha not in ([], [255]):
        raise ValueError(f"background must be an opaque color such as white or #rrggbb, got {color!r}")
    return red, green, blue


def from_pillow(image: Image.Image, pixels: np.ndarray | None = None) -> Picture:
    """Convert a Pillow image of any mode but ``F``; EXIF orientation is not applied.

    Palettes become RGB, all kinds of transparency an alpha channel, CMYK RGB, by its profile if present; 16-bit gray
    stays 16-bit.

    Args:
        image: The image.
        pixels: Pixels (H, W, C) to use instead of the image's, which are then not decoded.

    Raises:
        ValueError: If the mode is ``F``, whose range is unknown, or ``I`` with values beyond 16 bits.
    """
    exif = exif_of(image)
    profile, color = image.info.get("icc_profile") or None, signals_from_exif(exif)
    if pixels is not None:
        pass
    elif image.mode == "CMYK":
        color = ColorSignals()
        pixels, profile = cmyk_to_rgb(np.asarray(image), profile)
    elif image.mode == "F":
        raise ValueError("image must not be of mode F, whose range is unknown; convert it to L or I;16")
    elif image.mode.startswith("I"):
        pixels = _sixteen_bits(np.asarray(image))[..., None]
    else:
        if image.mode == "LAB":
            lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            image, profile = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB"), None
            color = ColorSignals()
        mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
        pixels = np.asarray(image.convert(mode + "A" if image.has_transparency_data else mode))
        pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    profile, dpi = matching_profile(profile, pixels.shape[2]), valid_dpi(image.info.get("dpi"))
    return Picture(pixels, profile, dpi, descriptive_exif(exif), descriptive_xmp(xmp_of(image)), color)


def to_pillow(picture: Picture) -> Image.Image:
    """Convert a picture to a Pillow image of mode L, LA, RGB, RGBA, or I;16 for 16-bit gray."""
    image = Image.fromarray(picture.pixels[..., 0] if picture.channels == 1 else picture.pixels)
    if picture.icc_profile:
        image.info["icc_profile"] = picture.icc_profile
    if picture.dpi:
        image.info["dpi"] = picture.dpi
    return image


def _sixteen_bits(values: np.ndarray) -> np.ndarray:
    if values.size and not 0 <= values.min() <= values.max() <= 65535:
        raise ValueError(f"image must have gray values from 0 to 65535, got {values.min()} to {values.max()}")
    return values.astype(np.uint16)


# Metadata: EXIF, XMP, resolution


ORIENTATION = 0x0112
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_NO_UNIT, _PER_CENTIMETER = 1, 3
EXIF, GPS = 0x8769, 0x8825  # tags of subdirectories
_DESCRIPTION, _WIDTH, _HEIGHT = 0x010E, 0xA002, 0xA003
_FILE_SPECIFIC = (
    *(_WIDTH, _HEIGHT, 0xA005),  # interoperability
    *(0x9101, 0x9102, 0x9214, 0xA214),  # components, compression, subject area and location
    *(0xA20C, 0xA20E, 0xA20F, 0xA210),  # spatial frequency response, resolution of the focal plane
    *(0x927C, 0xEA1D),  # MakerNote: offsets in the original file, gain maps, previews
)
# Descriptions by which software stores shapes and sizes: OME-XML, ImageJ, tifffile, Aperio, Leica, ScanImage.
_STRUCTURAL_DESCRIPTION = re.compile(
    r"\s*(<\?xml|<!--|<OME|<scn|ImageJ=|shape=|\{.*\"shape\"|Aperio|SI\.|scanimage\.|state\.)|.*OME>\s*$",
    re.DOTALL | re.IGNORECASE,
)
_DESCRIPTIVE = (
    # description, unless structural; make, model, software, date, artist, copyright
    *(_DESCRIPTION, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298),
    # ratings; Windows title, comment, author, keywords, subject
    *(0x4746, 0x4749, *range(0x9C9B, 0x9CA0)),
)
_EMPTY = 14  # bytes of EXIF data without entries
_MAX_JPEG_EXIF = 60_000  # bytes; a segment has 65,533, also for color signals


class _Text(str):
    """Text in EXIF data as decoded by Pillow, byte by byte; Pillow would write ? for bytes above 127."""

    def encode(self, *_: str) -> bytes:
        return super().encode("latin-1")


def _keep_text(values: MutableMapping[int, Any]) -> None:
    values.update({tag: _Text(value) for tag, value in values.items() if isinstance(value, str)})


def exif_of(image: Image.Image) -> Image.Exif:
    """Return an image's EXIF data; empty if damaged."""
    try:
        exif = image.getexif()
        dict(exif)
        return exif
    except Exception:
        return Image.Exif()


def descriptive_exif(exif: Image.Exif) -> bytes | None:
    """Return the descriptive EXIF data: author, date, location, camera.

    Orientation, resolution, thumbnails, maker notes, tags on pixel storage and structural descriptions are dropped.

    Returns:
        EXIF data that begin with a TIFF header; None if no tags remain or the data are damaged.
    """
    kept = Image.Exif()
    try:
        for tag in _DESCRIPTIVE:
            if tag in exif:
                kept[tag] = exif[tag]
        if _STRUCTURAL_DESCRIPTION.match(str(kept.get(_DESCRIPTION, ""))):
            del kept[_DESCRIPTION]
        _keep_text(kept)
        for directory in (EXIF, GPS):
            details = {tag: value for tag, value in exif.get_ifd(directory).items() if tag not in _FILE_SPECIFIC}
            if details:
                _keep_text(details)
                kept.get_ifd(directory).update(details)
        data = kept.tobytes().removeprefix(b"Exif\0\0")
        return data if len(data) > _EMPTY else None
    except Exception:  # a value of a type that Pillow reads but cannot write
        return None


def exif_for(picture: Picture, form: str) -> Image.Exif:
    """Return a picture's EXIF data with its size, and with what the format stores there: color signals, resolution.

    Args:
        picture: The picture.
        form: Pillow's name of the format.
    """
    output = Image.Exif()
    if picture.exif and (form != "JPEG" or len(picture.exif) <= _MAX_JPEG_EXIF):
        output.load(picture.exif)
        _keep_text(output)
        for directory in (EXIF, GPS):
            if directory in output:
                _keep_text(output.get_ifd(directory))
        if EXIF in output:
            output.get_ifd(EXIF).update({_WIDTH: picture.width, _HEIGHT: picture.height})
    if picture.dpi and (form in ("WEBP", "AVIF", "HEIF") or (form == "JPEG" and not fits_jfif(picture.dpi))):
        output[_X_RESOLUTION], output[_Y_RESOLUTION], output[_RESOLUTION_UNIT] = *picture.dpi, 2
    add_color_tags(output, picture.color, form, 8 * picture.pixels.dtype.itemsize)
    return output


def valid_dpi(dpi: object) -> tuple[float, float] | None:
    """Return a file's resolution as two floats, or None if invalid."""
    try:
        across, down = (float(value) for value in dpi)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e6 and 0 < down < 1e6 else None


def fits_jfif(dpi: tuple[float, float] | None) -> bool:
    """Return whether the header of a JPEG file, which has 16-bit integers, can store a resolution."""
    return dpi is not None and all(1 <= round(value) <= 65_535 for value in dpi)


def exif_dpi(exif: Image.Exif) -> tuple[float, float] | None:
    """Return the resolution in EXIF data in dpi, or None."""
    dpi = valid_dpi((exif.get(_X_RESOLUTION), exif.get(_Y_RESOLUTION)))
    unit = exif.get(_RESOLUTION_UNIT)
    if dpi and unit == _PER_CENTIMETER:
        return dpi[0] * 2.54, dpi[1] * 2.54
    return None if unit == _NO_UNIT else dpi


def xmp_of(image: Image.Image) -> bytes | None:
    """Return an image's XMP packet, or None."""
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    return packet.encode() if isinstance(packet, str) else packet or None
