"""Image grids that compare methods on a detail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from . import Picture

_GAP = 8
_LINE = 1.4  # line height, as a multiple of the font size
_MAX_FONT_SIZE = 18
_MIN_FONT_SIZE = 9
_BOX_COLOR = "#e0245e"


@dataclass(frozen=True)
class Box:
    """Rectangle of an image, in pixels.

    Attributes:
        left: First column.
        top: First row.
        width: Number of columns.
        height: Number of rows.
    """

    left: int
    top: int
    width: int
    height: int

    def crop(self, image: np.ndarray) -> np.ndarray:
        """Return the part of ``image`` inside the box."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class Panel:
    """Cell of a grid.

    Attributes:
        pixels: (H, W, 3) uint8.
        lines: Caption, line by line.
        box: Box to outline. A panel with a box is an overview, resized to the size of the other panels of its row.
    """

    pixels: np.ndarray
    lines: tuple[str, ...]
    box: Box | None = None


def best_box(values: np.ndarray, side: int) -> Box:
    """Return the square box with the largest sum of values, clipped to the size of ``values``.

    Args:
        values: (H, W), ≥ 0.
        side: Width and height of the box in pixels.
    """
    height, width = (min(side, length) for length in values.shape)
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.cumsum(np.cumsum(values, axis=0, dtype=np.float64), axis=1, out=sums[1:, 1:])
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(inside.argmax(), inside.shape)
    return Box(int(left), int(top), width, height)


def local_contrast(image: np.ndarray) -> np.ndarray:
    """Return the luma differences to the right and lower neighbors, (H, W, 3) → (H, W)."""
    luma = image.astype(np.float64).mean(axis=2)
    return sum(np.abs(np.diff(luma, axis=axis, append=np.take(luma, [-1], axis=axis))) for axis in (0, 1))


def grid(rows: list[list[Panel]], side: int = 240) -> Picture:
    """Arrange panels in a grid, upscaled by integer factors, with captions below.

    Args:
        rows: Panels by row; all rows have the same number.
        side: Minimum length of the longer side of a detail in pixels.
    """
    images_by_row = [_render_row(row, side) for row in rows]
    columns = range(len(images_by_row[0]))
    widths = [max(row[column].width for row in images_by_row) for column in columns]
    size = _text_size(rows, widths)
    font = ImageFont.load_default(size=size)
    captions = [round(max(len(panel.lines) for panel in row) * size * _LINE) + _GAP for row in rows]
    heights = [max(image.height for image in row) for row in images_by_row]
    canvas = Image.new(
        "RGB",
        (sum(widths) + _GAP * (len(widths) - 1), sum(heights) + sum(captions) + _GAP * (len(rows) - 1)),
        "white",
    )
    draw = ImageDraw.Draw(canvas)
    top = 0
    for row, images, height, caption in zip(rows, images_by_row, heights, captions, strict=True):
        left = 0
        for panel, image, width in zip(row, images, widths, strict=True):
            canvas.paste(image, (left, top))
            for index, line in enumerate(panel.lines):
                text = _truncate(line, font, width)
                draw.text((left + 2, top + height + _GAP // 2 + index * size * _LINE), text, fill="black", font=font)
            left += width + _GAP
        top += height + caption + _GAP
    return Picture(np.asarray(canvas))


def _render_row(row: list[Panel], side: int) -> list[Image.Image]:
    longest = max(max(panel.pixels.shape[:2]) for panel in row if panel.box is None)
    factor = -(-side // longest)
    return [
        _zoom_panel(panel, factor) if panel.box is None else _draw_overview(panel, factor * longest) for panel in row
    ]


def _zoom_panel(panel: Panel, factor: int) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(panel.pixels))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _draw_overview(panel: Panel, side: int) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(panel.pixels))
    ratio = side / max(image.size)
    image = image.resize(tuple(max(1, round(length * ratio)) for length in image.size), Image.Resampling.LANCZOS)
    box = panel.box
    corners = (box.left, box.top, box.left + box.width, box.top + box.height)
    ImageDraw.Draw(image).rectangle([round(corner * ratio) for corner in corners], outline=_BOX_COLOR, width=2)
    return image


def _text_size(rows: list[list[Panel]], widths: list[int]) -> int:
    """Return the largest legible font size at which all lines fit their panels, or the minimum."""
    lines = [(line, width) for row in rows for panel, width in zip(row, widths, strict=True) for line in panel.lines]
    for size in range(_MAX_FONT_SIZE, _MIN_FONT_SIZE, -1):
        font = ImageFont.load_default(size=size)
        if all(font.getlength(line) <= width - 4 for line, width in lines):
            return size
    return _MIN_FONT_SIZE


def _truncate(line: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(line) <= width - 4:
        return line
    while line and font.getlength(f"{line}…") > width - 4:
        line = line[:-1]
    return f"{line}…"
