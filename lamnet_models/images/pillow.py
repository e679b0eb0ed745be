"""Conversion between Pillow images and pictures."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageCms

from .colour import cmyk_to_rgb, matching_profile
from .metadata import descriptive_exif, exif_of, valid_dpi, xmp_of
from .picture import Picture


def from_pillow(image: Image.Image) -> Picture:
    """Convert a Pillow image of any mode but ``F``; EXIF orientation is not applied.

    Palettes become RGB, all kinds of transparency an alpha channel, CMYK RGB, by its profile if present; 16-bit gray
    stays 16-bit.

    Raises:
        ValueError: If the mode is ``F``, whose range is unknown, or ``I`` with values beyond 16 bits.
    """
    profile = image.info.get("icc_profile") or None
    if image.mode == "CMYK":
        pixels, profile = cmyk_to_rgb(np.asarray(image), profile)
    elif image.mode == "F":
        raise ValueError("image must not be of mode F, whose range is unknown; convert it to L or I;16")
    elif image.mode.startswith("I"):
        pixels = _sixteen_bits(np.asarray(image))[..., None]
    else:
        if image.mode == "LAB":
            lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            image, profile = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB"), None
        mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
        pixels = np.asarray(image.convert(mode + "A" if image.has_transparency_data else mode))
        pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    profile, dpi = matching_profile(profile, pixels.shape[2]), valid_dpi(image.info.get("dpi"))
    return Picture(pixels, profile, dpi, descriptive_exif(exif_of(image)), xmp_of(image))


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
