"""Blended tiling: run a network on overlapping tiles, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from .pixels import Pixels

Progress = Callable[[int, int], None]
"""Called after each unit of work, such as a tile, with the number of units done and their total; 0: unknown."""


def forward_tiled(
    forward: Callable[[Tensor], Tensor],
    source: Pixels,
    out: Pixels,
    scale: int,
    tile: int,
    tile_pad: int,
    progress: Progress | None = None,
) -> None:
    """Run a network on images tile by tile and blend the results.

    An image is split into a grid of cells of nearly equal size. Each cell is run with ``tile_pad`` pixels around it.
    The outer half of this pad is discarded, because zero padding distorts it. Across the inner half and equally far
    into the cell, the result is blended linearly with the neighbor's::

        |<- tile_pad ->|<----- cell -----
        |  drop | blend|blend |   keep

    If an output pixel depends on at most ``tile_pad // 2`` input pixels to each side, the result equals that of the
    whole image up to rounding. This does not hold for LAMNet: IEM averages over its entire input, so every tile gets
    different gates, and its receptive field exceeds any practical pad. Its tiles differ slightly from the whole image.

    Memory holds one tile and one row of results.

    Args:
        forward: The network, (B, C, h, w) → (B, C', scale·h, scale·w).
        source: Images, (B, C, H, W).
        out: Destination of the SR images, (B, C', scale·H, scale·W).
        scale: The network's upscaling factor.
        tile: Largest side of a cell in input pixels; 0: the whole image at once.
        tile_pad: Pixels of padding around a cell.
        progress: Called after each tile.
    """
    height, width = source.shape[-2:]
    rows, columns = _fading_cells(height, tile, tile_pad), _fading_cells(width, tile, tile_pad)
    done, total = 0, len(rows) * len(columns)
    overlap: Tensor | None = None  # bottom rows of the previous band, to blend with the next band
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
        if overlap is not None:
            band[..., : overlap.shape[2], :] += overlap
        finished = stop if row is rows[-1] else scale * (row.stop - row.fade)
        out.write(slice(start, finished), slice(None), band[..., : finished - start, :])
        overlap = band[..., finished - start :, :].clone()


def tile_count(height: int, width: int, tile: int) -> int:
    """Return the number of tiles of ``forward_tiled`` for an image."""
    return len(_edges(height, tile)) * len(_edges(width, tile))


@dataclass(frozen=True)
class Cell:
    """One cell along one axis, in input pixels.

    Attributes:
        start: First pixel of the cell.
        stop: One past its last pixel.
        size: Length of the axis.
        pad: Padding to each side.
        fade: Pixels to each side of an inner edge that are blended with the neighbor.
    """

    start: int
    stop: int
    size: int
    pad: int
    fade: int

    @property
    def read(self) -> slice:
        """Input range to run, padding included."""
        return slice(max(self.start - self.pad, 0), min(self.stop + self.pad, self.size))

    def write(self, scale: int) -> slice:
        """Output range to write, blended margins included."""
        return slice(scale * max(self.start - self.fade, 0), scale * min(self.stop + self.fade, self.size))

    def keep(self, scale: int) -> slice:
        """Range of ``write`` within the result of ``read``."""
        write, offset = self.write(scale), scale * self.read.start
        return slice(write.start - offset, write.stop - offset)

    def weights(self, scale: int) -> Tensor:
        """Blending weights over ``write``; they sum to 1 over all cells at each pixel."""
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
    """Split an axis of ``size`` pixels into unblended cells of at most ``tile`` pixels."""
    return [Cell(start, stop, size, pad, fade=0) for start, stop in _edges(size, tile)]


def _fading_cells(size: int, tile: int, pad: int) -> list[Cell]:
    edges = _edges(size, tile)
    # Half the pad, at most half the smallest cell: the margins of both ends must fit into a cell.
    fade = min(pad, *(stop - start for start, stop in edges)) // 2
    return [Cell(start, stop, size, pad, fade) for start, stop in edges]


def _edges(size: int, tile: int) -> list[tuple[int, int]]:
    count = ceil(size / tile) if tile else 1
    return [(size * i // count, size * (i + 1) // count) for i in range(count)]
