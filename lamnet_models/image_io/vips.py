"""libvips images: opening, decoding, conversion from and to arrays, color conversion."""

from __future__ import annotations

import io
import os
import threading
from typing import Any

import numpy as np
import pyvips

_LUMA = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}  # of red and blue, by matrix
_HARMLESS = "tag is not read from file"  # warning about an unknown tag
_errors_lock = threading.Lock()  # libvips has one error buffer for all threads


def open_image(file: io.BufferedIOBase, page: int | None = None) -> pyvips.Image:
    """Open a file for sequential access, without decoding its pixels.

    The file is opened by descriptor because libvips parses brackets in names as options, and by a separate descriptor
    because reading moves its position.

    Args:
        file: The file.
        page: Index of the page; None for files without pages.
    """
    descriptor = os.open(file.name, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        source = pyvips.Source.new_from_descriptor(descriptor)  # duplicates the descriptor
    finally:
        os.close(descriptor)
    options = {} if page is None else {"page": page}
    return pyvips.Image.new_from_source(source, "", access="sequential", fail_on="error", **options)


def decode(image: pyvips.Image) -> np.ndarray:
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
        pixels = to_pixels(image)
        errors = _error_log()
        pyvips.vips_lib.vips_error_clear()
    if errors:
        raise pyvips.Error("damaged tiles", errors)
    return pixels


def jpeg_damage(data: bytes, width: int, height: int) -> str | None:
    """Return libjpeg's first message on the image data of a JPEG file, or None; Pillow ignores most of them."""
    shrink = 8 if min(width, height) >= 8 else 1  # faster; reads all data, too
    with _errors_lock:
        pyvips.vips_lib.vips_error_clear()
        try:
            pyvips.Image.jpegload_buffer(data, access="sequential", fail_on="none", shrink=shrink).avg()
            log = _error_log()
        except pyvips.Error as error:
            log = error.detail
        pyvips.vips_lib.vips_error_clear()
    return next((line for line in log.splitlines() if line.startswith("VipsJpeg")), None)


def _error_log() -> str:
    """Return the content of libvips' error buffer, without harmless lines."""
    log = pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer()).decode(errors="replace")
    return "\n".join(line for line in log.splitlines() if line and _HARMLESS not in line)


def from_pixels(pixels: np.ndarray, icc_profile: bytes | None = None, cmyk: bool = False) -> pyvips.Image:
    """Return pixels (H, W, C) as a libvips image, gray, RGB or CMYK, with or without alpha."""
    interpretations = ("b-w", "grey16") if pixels.shape[2] < 3 else ("srgb", "rgb16")
    interpretation = "cmyk" if cmyk else interpretations[pixels.dtype.itemsize - 1]
    image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels), interpretation=interpretation)
    if icc_profile:
        image = image.copy()
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc_profile)
    return image


def to_pixels(image: pyvips.Image) -> np.ndarray:
    """Return an image's pixels, (H, W, C)."""
    return image.numpy().reshape(image.height, image.width, image.bands)  # numpy() drops axes of size 1


def get_field(image: pyvips.Image, name: str, default: Any = None) -> Any:
    """Return a metadata field of an image, or ``default``."""
    return image.get(name) if name in image.get_fields() else default


def interpolate_chroma(image: pyvips.Image, across: bool, down: bool, matrix: int) -> pyvips.Image:
    """Return an image with interpolated instead of repeated chroma; luma is unchanged.

    For values a, b, … repeated as a, a, b, b, …, the filter (1, 2, 1) / 4 gives the linear interpolation.

    Args:
        image: RGB with or without alpha.
        across: Whether chroma is repeated horizontally.
        down: Whether chroma is repeated vertically.
        matrix: Matrix coefficients as in ITU-T H.273, which define luma.
    """
    if not (across or down):
        return image
    red, blue = _LUMA.get(matrix, _LUMA[6])
    colors = image.extract_band(0, n=3)
    luma = colors.recomb([[red, 1 - red - blue, blue]])
    chroma = colors - luma
    for is_repeated, kernel in ((across, [[1, 2, 1]]), (down, [[1], [2], [1]])):
        if is_repeated:
            chroma = chroma.conv(pyvips.Image.new_from_array(kernel, scale=4))
    colors = luma + chroma
    return colors if image.bands == 3 else colors.bandjoin(image.extract_band(3))


def unpremultiply(pixels: np.ndarray) -> np.ndarray:
    """Return pixels (H, W, C) with premultiplied alpha as straight ones of the same dtype."""
    image = from_pixels(pixels)
    return to_pixels(image.unpremultiply(max_alpha=np.iinfo(pixels.dtype).max).rint().cast(image.format))


# Color conversion by ICC profile


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
        image = from_pixels(pixels, profile, cmyk).icc_transform(
            "srgb", embedded=True, intent="relative", black_point_compensation=True, depth=8 * pixels.dtype.itemsize
        )
        return to_pixels(image), image.get("icc-profile-data")
    except pyvips.Error:
        return None
