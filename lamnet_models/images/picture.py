"""Picture: a decoded image with its metadata."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


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
        xmp: XMP packet.

    Raises:
        ValueError: If the pixels have another shape or dtype.
    """

    pixels: np.ndarray
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    exif: bytes | None = None
    xmp: bytes | None = None

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

    def upright(self, orientation: object) -> Picture:
        """Return a copy with an EXIF orientation applied (1 to 8, other values count as 1)."""
        pixels, dpi = self.pixels, self.dpi
        if orientation in (5, 6, 7, 8):
            pixels = pixels.swapaxes(0, 1)
            dpi = dpi and dpi[::-1]
        if orientation in (3, 4, 7, 8):
            pixels = pixels[::-1]
        if orientation in (2, 3, 6, 7):
            pixels = pixels[:, ::-1]
        return replace(self, pixels=np.ascontiguousarray(pixels), dpi=dpi)
