"""Pictures that show what methods do to a detail, side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .images import Picture

_GAP = 8
_LINE = 1.4  # height of a line of text, in sizes of its font
_LARGEST_TEXT = 18
_SMALLEST_TEXT = 9
_MARK = "#e0245e"


@dataclass(frozen=True)
class Box:
    """A rectangle of an image, in pixels.

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
        """Returns what is inside it."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class Panel:
    """One cell of a grid.

    Attributes:
        pixels: (H, W, 3) uint8.
        lines: What is written under it.
        box: What is marked in it: such a panel shows where the others of its row lie, at their size.
    """

    pixels: np.ndarray
    lines: tuple[str, ...]
    box: Box | None = None


def best_box(values: np.ndarray, side: int) -> Box:
    """Returns the box of a side, or of the whole where that is smaller, over which values add up to the most.

    Args:
        values: (H, W), at least 0.
        side: Width and height in pixels.
    """
    height, width = (min(side, length) for length in values.shape)
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.cumsum(np.cumsum(values, axis=0, dtype=np.float64), axis=1, out=sums[1:, 1:])
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(inside.argmax(), inside.shape)
    return Box(int(left), int(top), width, height)


def local_contrast(image: np.ndarray) -> np.ndarray:
    """Returns how much each pixel of (H, W, 3) differs from its neighbours, (H, W): where methods differ."""
    luma = image.astype(np.float64).mean(axis=2)
    return sum(np.abs(np.diff(luma, axis=axis, append=np.take(luma, [-1], axis=axis))) for axis in (0, 1))


def grid(rows: list[list[Panel]], side: int = 240) -> Picture:
    """Lays panels out in a grid, each enlarged by a whole factor until it is legible, with its lines under it.

    Args:
        rows: The panels; all rows have as many.
        side: Pixels that the longer side of a detail gets at least.
    """
    drawn = [_render_row(row, side) for row in rows]
    columns = range(len(drawn[0]))
    widths = [max(row[column].width for row in drawn) for column in columns]
    size = _text_size(rows, widths)
    font = ImageFont.load_default(size=size)
    captions = [round(max(len(panel.lines) for panel in row) * size * _LINE) + _GAP for row in rows]
    heights = [max(image.height for image in row) for row in drawn]
    canvas = Image.new(
        "RGB",
        (sum(widths) + _GAP * (len(widths) - 1), sum(heights) + sum(captions) + _GAP * (len(rows) - 1)),
        "white",
    )
    draw = ImageDraw.Draw(canvas)
    top = 0
    for row, images, height, caption in zip(rows, drawn, heights, captions, strict=True):
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
    ImageDraw.Draw(image).rectangle([round(corner * ratio) for corner in corners], outline=_MARK, width=2)
    return image


def _text_size(rows: list[list[Panel]], widths: list[int]) -> int:
    """Returns the largest size at which every line fits under its panel, down to what can still be read."""
    lines = [(line, width) for row in rows for panel, width in zip(row, widths, strict=True) for line in panel.lines]
    for size in range(_LARGEST_TEXT, _SMALLEST_TEXT, -1):
        font = ImageFont.load_default(size=size)
        if all(font.getlength(line) <= width - 4 for line, width in lines):
            return size
    return _SMALLEST_TEXT


def _truncate(line: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(line) <= width - 4:
        return line
    while line and font.getlength(f"{line}…") > width - 4:
        line = line[:-1]
    return f"{line}…"
