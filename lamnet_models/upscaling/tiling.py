"""A network run over an image in overlapping tiles, so that memory does not grow with the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from .pixels import Pixels

Progress = Callable[[int, int], None]
"""Called after each step with the number of steps done and of all steps."""


def forward_tiled(
    forward: Callable[[Tensor], Tensor],
    source: Pixels,
    out: Pixels,
    scale: int,
    tile: int,
    tile_pad: int,
    progress: Progress | None = None,
) -> None:
    """Runs a network over images tile by tile and blends the results.

    An image is cut into a grid of cells of nearly equal size; each is run together with ``tile_pad`` pixels around it.
    The outer half of these is thrown away, because zero padding spoils it; over the inner half and as far into the cell
    the result fades linearly into the neighbour's. Where an output pixel depends on at most ``tile_pad // 2`` input
    pixels to each side, the result is that of the whole image, up to rounding.

    LAMNet is no such network: IEM takes means over all that it sees, so each tile gets gates of its own, and its
    receptive field is wider than any sensible pad. Its tiles differ slightly from the whole image.

    Memory holds one tile at a time, and one row of results.

    Args:
        forward: The network, (B, C, h, w) → (B, C', scale·h, scale·w).
        source: Images, (B, C, H, W).
        out: Takes the enlarged ones, (B, C', scale·H, scale·W).
        scale: The network's factor of enlargement.
        tile: Largest side of a cell in input pixels; 0 runs the whole image at once.
        tile_pad: Pixels around a cell that are run with it.
        progress: Called after each tile.
    """
    height, width = source.shape[-2:]
    rows, columns = _fading_cells(height, tile, tile_pad), _fading_cells(width, tile, tile_pad)
    done, total = 0, len(rows) * len(columns)
    over: Tensor | None = None  # what a row of cells has left for the next one to fade into
    for row in rows:
        band: Tensor | None = None
        for column in columns:
            result = forward(source.read(row.read, column.read))[..., row.keep(scale), column.keep(scale)]
            if total == 1:
                band = result
            else:
                if band is None:
                    size = (*result.shape[:3], scale * width)
                    band = torch.zeros(size, dtype=result.dtype, device=out.data.device)
                weights = row.weights(scale)[:, None] * column.weights(scale)
                band[..., column.write(scale)] += result.to(band.device) * weights.to(band)
            done += 1
            if progress:
                progress(done, total)
        start, stop = row.write(scale).start, row.write(scale).stop
        if over is not None:
            band[..., : over.shape[2], :] += over
        whole = stop if row is rows[-1] else scale * (row.stop - row.fade)
        out.write(slice(start, whole), slice(None), band[..., : whole - start, :])
        over = band[..., whole - start :, :].clone()


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
