"""A network run over an image in overlapping tiles, so that memory does not grow with the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

Progress = Callable[[int, int], None]
"""Called after each step with the number of steps done and of all steps."""


def forward_tiled(
    forward: Callable[[Tensor], Tensor],
    image: Tensor,
    scale: int,
    tile: int,
    tile_pad: int,
    progress: Progress | None = None,
) -> Tensor:
    """Runs a network over an image tile by tile and blends the results.

    The image is cut into a grid of cells of nearly equal size; each is run together with ``tile_pad`` pixels around it.
    The outer half of these is thrown away, because zero padding spoils it; over the inner half and as far into the cell
    the result fades linearly into the neighbour's. Where an output pixel depends on at most ``tile_pad // 2`` input
    pixels to each side, the result is that of the whole image, up to rounding.

    LAMNet is no such network: IEM takes means over all that it sees, so each tile gets gates of its own, and its
    receptive field is wider than any sensible pad. Its tiles differ slightly from the whole image.

    Args:
        forward: The network, (B, C, h, w) → (B, C', scale·h, scale·w).
        image: Images, (B, C, H, W).
        scale: The network's factor of enlargement.
        tile: Largest side of a cell in input pixels; 0 runs the whole image at once.
        tile_pad: Pixels around a cell that are run with it.
        progress: Called after each tile.

    Returns:
        The enlarged images, (B, C', scale·H, scale·W), on the device of ``image``, wherever ``forward`` computes.
        Beyond them, memory holds one tile at a time.
    """
    height, width = image.shape[-2:]
    rows, columns = _fading_cells(height, tile, tile_pad), _fading_cells(width, tile, tile_pad)
    total = len(rows) * len(columns)
    out = None
    for done, (row, column) in enumerate(((r, c) for r in rows for c in columns), start=1):
        result = forward(image[..., row.read, column.read])
        if total == 1:
            out = result.to(image.device)
        else:
            if out is None:
                size = (*result.shape[:2], scale * height, scale * width)
                out = torch.zeros(size, dtype=result.dtype, device=image.device)
            weights = row.weights(scale)[:, None] * column.weights(scale)
            result = result[..., row.keep(scale), column.keep(scale)].to(out.device)
            out[..., row.write(scale), column.write(scale)] += result * weights.to(out)
        if progress:
            progress(done, total)
    return out


def tile_count(height: int, width: int, tile: int) -> int:
    """Returns how many tiles ``forward_tiled`` cuts an image into."""
    return len(_edges(height, tile)) * len(_edges(width, tile))


@dataclass(frozen=True)
class Cell:
    """One cell along one axis, in input pixels.

    Attributes:
        start: First pixel of the cell.
        stop: Pixel after its last.
        size: Pixels of the whole axis.
        pad: Pixels to each side that are run with it.
        fade: Pixels to each side of an inner edge over which it fades into its neighbour.
    """

    start: int
    stop: int
    size: int
    pad: int
    fade: int

    @property
    def read(self) -> slice:
        """What is run, in the input."""
        return slice(max(self.start - self.pad, 0), min(self.stop + self.pad, self.size))

    def write(self, scale: int) -> slice:
        """What it adds to, in the output."""
        return slice(scale * max(self.start - self.fade, 0), scale * min(self.stop + self.fade, self.size))

    def keep(self, scale: int) -> slice:
        """Where that lies in the result of what was run."""
        write, offset = self.write(scale), scale * self.read.start
        return slice(write.start - offset, write.stop - offset)

    def weights(self, scale: int) -> Tensor:
        """Weights of what is kept; over all cells they add up to 1 at each pixel."""
        write = self.write(scale)
        weights = torch.ones(write.stop - write.start, dtype=torch.float64)
        length = 2 * scale * self.fade
        ramp = (torch.arange(length, dtype=torch.float64) + 0.5) / max(length, 1)
        if self.start > 0:
            weights[:length] *= ramp
        if self.stop < self.size:
            weights[len(weights) - length :] *= 1 - ramp
        return weights


def cells(size: int, tile: int, pad: int) -> list[Cell]:
    """Returns the cells of an axis of so many pixels, none above ``tile``, each to be run with ``pad`` around it."""
    return [Cell(start, stop, size, pad, fade=0) for start, stop in _edges(size, tile)]


def _fading_cells(size: int, tile: int, pad: int) -> list[Cell]:
    edges = _edges(size, tile)
    # Beside the pad, cells must have room for fading at both ends.
    fade = min(pad, *(stop - start for start, stop in edges)) // 2
    return [Cell(start, stop, size, pad, fade) for start, stop in edges]


def _edges(size: int, tile: int) -> list[tuple[int, int]]:
    count = ceil(size / tile) if tile else 1
    return [(size * i // count, size * (i + 1) // count) for i in range(count)]
