"""What libvips decodes, as pictures."""

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

_HARMLESS = "tag is not read from file"  # of an odd tag, about which nobody asks
_errors_lock = threading.Lock()  # libvips keeps one list of errors for all threads


def to_picture(image: pyvips.Image, dpi: tuple[float, float] | None) -> Picture:
    """Decodes an image that has been opened.

    Args:
        image: From ``vips.open_image``.
        dpi: Its resolution, before it is turned upright.

    Raises:
        ImageError: If the picture is too large, or of a kind that is not supported.
        pyvips.Error: If the file is damaged.
    """
    check_pixels(image.width, image.height)
    if image.interpretation == "labs":  # CIELAB
        image = image.colourspace("rgb16")
    if image.format not in ("uchar", "ushort"):
        raise ImageError(f"its samples are of type {image.format}; only 8- and 16-bit unsigned integers are supported")
    if image.interpretation not in _COLOR_SPACES:
        raise ImageError(f"its colour space, {image.interpretation}, is not supported")
    profile = vips.get_field(image, "icc-profile-data")
    pixels = _decode(image)
    if image.interpretation == "cmyk":
        pixels, profile = cmyk_to_rgb(pixels, profile)
    if pixels.shape[2] > 4:
        raise ImageError(
            f"{pixels.shape[2]} channels a pixel, where grey, RGB or CMYK and at most one of alpha are known"
        )
    exif = Image.Exif()
    if data := vips.get_field(image, "exif-data"):
        with contextlib.suppress(Exception):  # damaged EXIF data are no reason to refuse the picture
            exif.load(data)
    profile = matching_profile(profile, pixels.shape[2])
    picture = Picture(pixels, profile, dpi, descriptive_exif(exif), vips.get_field(image, "xmp-data"))
    return picture.upright(vips.get_field(image, "orientation", 1))


def _decode(image: pyvips.Image) -> np.ndarray:
    """Returns an image's pixels, (H, W, C).

    Raises pyvips.Error for damaged tiles too: libvips itself only notes these, leaves them black, and goes on through
    all that a file claims to have.
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
        damage = _error_log()
        pyvips.vips_lib.vips_error_clear()
    if damage:
        raise pyvips.Error("damaged tiles", damage)
    return pixels


def _error_log() -> str:
    """Returns what libvips has noted as errors."""
    noted = pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer()).decode(errors="replace")
    return "\n".join(line for line in noted.splitlines() if line and _HARMLESS not in line)
