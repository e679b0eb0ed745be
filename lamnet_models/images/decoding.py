"""Conversion of libvips images to pictures."""

from __future__ import annotations

import contextlib
import threading

import numpy as np
import pyvips
from PIL import Image

from ..errors import ImageError
from . import vips
from .colour import cmyk_to_rgb, matching_profile
from .limits import check_pixels
from .metadata import descriptive_exif
from .picture import Picture

_COLOR_SPACES = ("b-w", "grey16", "srgb", "rgb16", "cmyk")  # libvips' names

_HARMLESS = "tag is not read from file"  # warning about an unknown tag
_errors_lock = threading.Lock()  # libvips has one error buffer for all threads


def to_picture(image: pyvips.Image, dpi: tuple[float, float] | None) -> Picture:
    """Decode an opened image.

    Args:
        image: From ``vips.open_image``.
        dpi: Resolution before EXIF orientation is applied.

    Raises:
        ImageError: If the image is too large or unsupported.
        pyvips.Error: If the file is damaged.
    """
    check_pixels(image.width, image.height)
    if image.interpretation == "labs":  # CIELAB
        image = image.colourspace("rgb16")
    if image.format not in ("uchar", "ushort"):
        raise ImageError(f"samples must be 8- or 16-bit unsigned integers, got {image.format}")
    if image.interpretation not in _COLOR_SPACES:
        raise ImageError(f"unsupported color space {image.interpretation}")
    profile = vips.get_field(image, "icc-profile-data")
    pixels = _decode(image)
    if image.interpretation == "cmyk":
        pixels, profile = cmyk_to_rgb(pixels, profile)
    if pixels.shape[2] > 4:
        raise ImageError(f"channels must be gray, RGB or CMYK and at most one alpha, got {pixels.shape[2]} channels")
    exif = Image.Exif()
    if data := vips.get_field(image, "exif-data"):
        with contextlib.suppress(Exception):  # ignore damaged EXIF data
            exif.load(data)
    profile = matching_profile(profile, pixels.shape[2])
    picture = Picture(pixels, profile, dpi, descriptive_exif(exif), vips.get_field(image, "xmp-data"))
    return picture.upright(vips.get_field(image, "orientation", 1))


def _decode(image: pyvips.Image) -> np.ndarray:
    """Return an image's pixels, (H, W, C).

    Raises pyvips.Error for damaged tiles, too: libvips only logs these, leaves them black and continues.
    """

    def stop_at_damage(image: pyvips.Image, _: object) -> None:
        if _error_log():
            image.set_kill(True)

    image = image.copy()
    image.set_progress(True)
    image.signal_connect("eval", stop_at_damage)
    with _errors_lock:
        pyvips.vips_lib.vips_error_clear()
        pixels = vips.to_pixels(image)
        errors = _error_log()
        pyvips.vips_lib.vips_error_clear()
    if errors:
        raise pyvips.Error("damaged tiles", errors)
    return pixels


def _error_log() -> str:
    """Return the content of libvips' error buffer, without harmless lines."""
    log = pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer()).decode(errors="replace")
    return "\n".join(line for line in log.splitlines() if line and _HARMLESS not in line)
