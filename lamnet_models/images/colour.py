"""Colours that change their space, by ICC profile."""

from __future__ import annotations

import numpy as np
import pyvips

from . import vips


def matching_profile(profile: bytes | None, channels: int) -> bytes | None:
    """Returns the profile if it is for a picture of so many channels, grey or RGB, and None otherwise."""
    space = b"GRAY" if channels < 3 else b"RGB "
    return profile if profile and profile[16:20] == space else None


def cmyk_to_rgb(pixels: np.ndarray, profile: bytes | None) -> tuple[np.ndarray, bytes | None]:
    """Converts CMYK to RGB: by its profile to sRGB, or without one by Pillow's rule, (1 − c)·(1 − k).

    Args:
        pixels: (H, W, 4), or (H, W, 5) with alpha last; uint8 or uint16, 0 being no ink.
        profile: The CMYK's ICC profile.

    Returns:
        RGB pixels, with the alpha if there is one, in the same type, and their profile: sRGB's, or None where there was
        none to go by.
    """
    if profile and profile[16:20] == b"CMYK" and (converted := to_srgb(pixels, profile, cmyk=True)):
        return converted
    top = np.iinfo(pixels.dtype).max
    light = top - pixels[..., :4].astype(np.uint32)
    rgb = light[..., :3] * light[..., 3:]
    rgb = ((rgb + top // 2) // top).astype(pixels.dtype)
    return np.concatenate((rgb, pixels[..., 4:]), axis=2), None


def to_srgb(pixels: np.ndarray, profile: bytes, cmyk: bool = False) -> tuple[np.ndarray, bytes] | None:
    """Converts pixels (H, W, C) with a profile to sRGB; alpha stays as it is.

    Relative colorimetric with black point compensation, as image editors do by default.

    Returns:
        RGB pixels in the same type, and sRGB's profile. For a damaged profile libvips takes one of its own for such
        colours; None if it has none.
    """
    try:
        image = vips.from_pixels(pixels, profile, cmyk).icc_transform(
            "srgb", embedded=True, intent="relative", black_point_compensation=True, depth=8 * pixels.dtype.itemsize
        )
        return vips.to_pixels(image), image.get("icc-profile-data")
    except pyvips.Error:
        return None
