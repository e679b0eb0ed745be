"""Color conversion by ICC profile."""

from __future__ import annotations

import numpy as np
import pyvips

from . import vips


def matching_profile(profile: bytes | None, channels: int) -> bytes | None:
    """Return the profile if its color space matches the number of channels, else None."""
    space = b"GRAY" if channels < 3 else b"RGB "
    return profile if profile and profile[16:20] == space else None


def cmyk_to_rgb(pixels: np.ndarray, profile: bytes | None) -> tuple[np.ndarray, bytes | None]:
    """Convert CMYK to sRGB by its profile, or without one by Pillow's formula, (1 − c)·(1 − k).

    Args:
        pixels: (H, W, 4), or (H, W, 5) with alpha last; uint8 or uint16, 0 for no ink.
        profile: CMYK ICC profile.

    Returns:
        RGB pixels, with alpha if present, in the same dtype, and the sRGB profile, or None if no profile was applied.
    """
    if profile and profile[16:20] == b"CMYK" and (converted := to_srgb(pixels, profile, cmyk=True)):
        return converted
    top = np.iinfo(pixels.dtype).max
    light = top - pixels[..., :4].astype(np.uint32)
    rgb = light[..., :3] * light[..., 3:]
    rgb = ((rgb + top // 2) // top).astype(pixels.dtype)
    return np.concatenate((rgb, pixels[..., 4:]), axis=2), None


def to_srgb(pixels: np.ndarray, profile: bytes, cmyk: bool = False) -> tuple[np.ndarray, bytes] | None:
    """Convert pixels (H, W, C) with a profile to sRGB; alpha is unchanged.

    Relative colorimetric with black point compensation, the default of image editors.

    Returns:
        RGB pixels in the same dtype and the sRGB profile. If the profile is damaged, libvips uses its default profile
        for the color space; None if it has none.
    """
    try:
        image = vips.from_pixels(pixels, profile, cmyk).icc_transform(
            "srgb", embedded=True, intent="relative", black_point_compensation=True, depth=8 * pixels.dtype.itemsize
        )
        return vips.to_pixels(image), image.get("icc-profile-data")
    except pyvips.Error:
        return None
