"""Tiling in bounded memory: overlapping blended tiles, and exact tiles for LAMNet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import ceil

import torch
from torch import Tensor

from lamnet_layers import ULM, PreNormResidual
from lamnet_layers.mixer import concat_branches

from ..devices import Autocast
from ..lamnet import LAMNet
from .pixels import Pixels, empty

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


# Exact tiling: layer by layer, with the result of the whole image


EXACT_TILES = (256, 128, 64)
"""Tile sides in pixels, tried in this order when memory is short; the result does not depend on the choice."""

STORED_MAPS = 3
"""Feature maps stored between layers: the block input, the layer input and the layer output."""


def forward_exact(
    model: LAMNet,
    source: Pixels,
    out: Pixels,
    autocast: Autocast,
    *,
    tile: int = EXACT_TILES[0],
    in_file: bool = False,
    progress: Progress | None = None,
) -> None:
    """Run LAMNet tile by tile, with the result of the whole image up to rounding.

    Blended tiles differ from the whole image because IEM averages over its entire input. Here, each layer processes all
    tiles before the next layer starts. A tile is read with a halo of the layer's receptive radius, and the IEM means
    are accumulated over all tiles in float64. Three feature maps are stored between layers, in host memory or in a
    temporary file. Images of a batch are processed one at a time, so the result does not depend on the batch.

    Args:
        model: The network, in evaluation mode.
        source: Images, (B, C, H, W).
        out: Destination of the SR images, (B, C, scale·H, scale·W).
        autocast: Device and dtype of the computation; holds one tile at a time.
        tile: Largest side of a tile in input pixels.
        in_file: Store the features in a temporary file instead of memory.
        progress: Called after each tile of each layer.

    Raises:
        LAMNetError: If the disk is too full for the features, or the result is not finite.
    """
    batch, _, height, width = source.shape
    shape = (STORED_MAPS, 1, height, width, model.num_features)
    maps = list(empty(shape, model.mean.dtype, torch.device("cpu"), in_file).permute(0, 1, 4, 2, 3))
    tiles = _TileRunner(model, batch, (height, width), autocast, tile, progress)
    for index in range(batch):
        _run(model, source.image(index), out.image(index), tiles, maps)


def _run(model: LAMNet, source: Pixels, out: Pixels, tiles: _TileRunner, maps: list[Tensor]) -> None:
    block_input, *buffers = (_FeatureMap(tensor) for tensor in maps)
    tiles.run(1, model.extract, source, into=block_input)
    for block in model.blocks:
        features = block_input
        for layer in block.layers:
            free = [buffer for buffer in buffers if buffer is not features]
            if _has_exchange(layer):
                target = free[1] if features is block_input else features
                _run_exchanging_mixer(tiles, layer, features, free[0], target)
            else:
                target = free[0]
                tiles.run(_radius(layer), layer.forward_chunked, features, into=target)
            features = target
        tiles.run(0, block.residual, block_input, features, into=block_input)

    def reconstruct(image: Tensor, features: Tensor) -> Tensor:
        return model.reconstruct(model.extract(image), features)

    tiles.run(2, reconstruct, source, block_input, into=out, scale=model.scale, on_result=Autocast.check)


def _run_exchanging_mixer(
    tiles: _TileRunner, layer: PreNormResidual, features: _FeatureMap, branch_map: _FeatureMap, into: _FeatureMap
) -> None:
    """Run a ULM with IEM in two passes: accumulate the branch means, then apply the gates."""
    mixer = layer.layer
    _, channels, height, width = features.tensor.shape
    sums = torch.zeros(2, 1, channels // 2, dtype=torch.float64)

    def accumulate(branches: Tensor) -> None:
        pixels = branches.shape[2] * branches.shape[3]
        sums.add_(torch.stack(mixer.exchange.statistics(*branches.chunk(2, dim=1))).cpu().double(), alpha=pixels)

    def branch(x: Tensor) -> Tensor:
        return concat_branches(*mixer.branches(layer.norm(x)))

    tiles.run(_radius(layer), branch, features, into=branch_map, on_result=accumulate)
    mean, agreement = (sums / (height * width)).to(features.tensor.dtype).to(tiles.autocast.device)

    def join(x: Tensor, branches: Tensor) -> Tensor:
        c, a = branches.chunk(2, dim=1)
        gated = mixer.exchange.scale(c, a, *mixer.exchange.gates_from_statistics(c, mean, agreement))
        return layer.residual(x, mixer.join(*gated))

    tiles.run(0, join, features, branch_map, into=into)


def _has_exchange(layer: PreNormResidual) -> bool:
    return isinstance(layer.layer, ULM) and layer.layer.exchange is not None


def _radius(layer: PreNormResidual) -> int:
    return max(layer.layer.receptive_radius)


class _FeatureMap:
    """A feature map, (1, C, H, W), with the interface of ``Pixels`` and without conversion."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def read(self, rows: slice, columns: slice) -> Tensor:
        return self.tensor[..., rows, columns]

    def write(self, rows: slice, columns: slice, values: Tensor) -> None:
        self.tensor[..., rows, columns] = values


class _TileRunner:
    """Tile-wise executor: applies one function at a time to all tiles of an image."""

    def __init__(
        self,
        model: LAMNet,
        batch: int,
        size: tuple[int, int],
        autocast: Autocast,
        tile: int,
        progress: Progress | None,
    ) -> None:
        self.autocast = autocast
        self._size = size
        self._tile = tile
        self._progress = progress
        layers = [layer for block in model.blocks for layer in block.layers]
        passes = 2 + len(model.blocks) + len(layers) + sum(map(_has_exchange, layers))
        self._total = batch * passes * len(self._cells(0))
        self._done = 0

    def _cells(self, halo: int) -> list[tuple[Cell, Cell]]:
        return list(product(*(cells(side, self._tile, halo) for side in self._size)))

    def run(
        self,
        halo: int,
        compute: Callable[..., Tensor],
        *sources: Pixels | _FeatureMap,
        into: Pixels | _FeatureMap,
        scale: int = 1,
        on_result: Callable[[Tensor], object] | None = None,
    ) -> None:
        """Apply a function to all tiles.

        Args:
            halo: Input pixels around a tile that its result depends on; ``into`` may be a source if 0.
            compute: Function of one tile of each source, halo included.
            sources: Inputs.
            into: Destination of the results.
            scale: Upscaling factor of ``compute``.
            on_result: Called with each result, halo removed.
        """
        for rows, columns in self._cells(halo):
            result = self.autocast(compute, *(source.read(rows.read, columns.read) for source in sources))
            result = result[..., rows.keep(scale), columns.keep(scale)]
            if on_result:
                on_result(result)
            into.write(rows.write(scale), columns.write(scale), result)
            self._done += 1
            if self._progress:
                self._progress(self._done, self._total)
