"""Picture: what an image file says, once decoded."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image, upright, with what a viewer needs to show it right.

    Attributes:
        pixels: (H, W, C), uint8 or uint16 over their whole range; C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB,
            alpha). Alpha is straight: colours are not multiplied with it.
        icc_profile: ICC profile of the colours, grey or RGB as they are; None means sRGB.
        dpi: Resolution in pixels per inch, horizontal and vertical; None if unknown.
        exif: EXIF data that describe the picture (who, when, where, with what), beginning with a TIFF header; what
            depends on the pixels, such as size and orientation, is left out.
        xmp: XMP packet.

    Raises:
        ValueError: If the pixels have another shape or type.
    """

    pixels: np.ndarray
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    exif: bytes | None = None
    xmp: bytes | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] not in (1, 2, 3, 4) or 0 in self.pixels.shape:
            raise ValueError(
                f"pixels has shape {self.pixels.shape}, but it must be (H, W, C) with 1 to 4 channels, H and W ≥ 1"
            )
        if self.pixels.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"pixels is of type {self.pixels.dtype}, but it must be uint8 or uint16")

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
        """Returns other pixels with everything else of this picture."""
        return replace(self, pixels=pixels)

    def without_metadata(self) -> Picture:
        """Returns the picture without EXIF data and XMP."""
        return replace(self, exif=None, xmp=None)

    def upright(self, orientation: object) -> Picture:
        """Returns the picture turned as an EXIF orientation (1 to 8, anything else is 1) asks."""
        pixels, dpi = self.pixels, self.dpi
        if orientation in (5, 6, 7, 8):
            pixels = pixels.swapaxes(0, 1)
            dpi = dpi and dpi[::-1]
        if orientation in (3, 4, 7, 8):
            pixels = pixels[::-1]
        if orientation in (2, 3, 6, 7):
            pixels = pixels[:, ::-1]
        return replace(self, pixels=np.ascontiguousarray(pixels), dpi=dpi)
