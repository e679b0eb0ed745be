"""LAMNet over an image in tiles, with the result of the whole image: stage by stage, its features kept outside."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from lamnet_layers import ULM
from lamnet_layers.residual import PreNormResidual

from ..lamnet import LAMNet
from .pixels import Pixels
from .precision import Autocast
from .scratch import empty
from .tiling import Cell, Progress, cells

EXACT_TILES = (256, 128, 64)
"""Sides in pixels of the tiles, to be tried in turn where memory is short; what comes out does not depend on them."""

STORES = 3
"""Feature maps kept between the layers: a block's input, the features, and what is made of them."""


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
    """Runs LAMNet over images tile by tile, with the result of the whole image up to rounding.

    Tiles of an ordinary tiler differ from the whole image, because IEM takes means over all that it sees. Here each
    layer goes over the whole image before the next one begins; it reads as many pixels around a tile as it depends on,
    and the means are those of all tiles, summed in float64. Between the layers, three maps of features lie in the
    host's memory or in a temporary file. Images go one after another, so that none depends on its batch.

    Args:
        model: The network, in evaluation mode.
        source: Images, (B, C, H, W).
        out: Takes the enlarged ones, (B, C, scale·H, scale·W).
        autocast: Where and in what type to compute; it holds one tile at a time.
        tile: Largest side of a tile in input pixels.
        in_file: Whether features lie in a file instead of memory.
        progress: Called after each tile of each layer.

    Raises:
        LAMNetError: If the disk has no room for the features, or the result is not finite.
    """
    batch, _, height, width = source.shape
    shape = (STORES, 1, height, width, model.num_features)
    maps = list(empty(shape, model.mean.dtype, torch.device("cpu"), in_file).permute(0, 1, 4, 2, 3))
    tiles = _Tiles(model, batch, (height, width), autocast, tile, progress)
    for index in range(batch):
        _run(model, source.image(index), out.image(index), tiles, maps)


def _run(model: LAMNet, source: Pixels, out: Pixels, tiles: _Tiles, maps: list[Tensor]) -> None:
    start, *others = (_Features(tensor) for tensor in maps)
    tiles.run(1, model.extract, source, into=start)
    for block in model.blocks:
        features = start
        for layer in block.layers:
            free = [store for store in others if store is not features]
            if _exchanges(layer):
                target = free[1] if features is start else features
                _mix(tiles, layer, features, free[0], target)
            else:
                target = free[0]
                tiles.run(_radius(layer), layer.forward_tiled, features, into=target)
            features = target
        tiles.run(0, block.residual, start, features, into=start)

    def reconstruct(image: Tensor, features: Tensor) -> Tensor:
        return model.reconstruct(model.extract(image), features)

    tiles.run(2, reconstruct, source, start, into=out, scale=model.scale, seen=Autocast.check)


def _mix(tiles: _Tiles, layer: PreNormResidual, features: _Features, joined: _Features, into: _Features) -> None:
    """Runs a mixer whose branches exchange means over the image: once to gather these, once to use them."""
    mixer = layer.layer
    _, channels, height, width = features.tensor.shape
    sums = torch.zeros(2, 1, channels // 2, dtype=torch.float64)

    def gather(branches: Tensor) -> None:
        pixels = branches.shape[2] * branches.shape[3]
        sums.add_(torch.stack(mixer.exchange.statistics(*branches.chunk(2, dim=1))).cpu().double(), alpha=pixels)

    def branch(x: Tensor) -> Tensor:
        return mixer.concat_branches(*mixer.branches(layer.norm(x)))

    tiles.run(_radius(layer), branch, features, into=joined, seen=gather)
    mean, agreement = (sums / (height * width)).to(features.tensor.dtype).to(tiles.autocast.device)

    def join(x: Tensor, branches: Tensor) -> Tensor:
        c, a = branches.chunk(2, dim=1)
        gated = mixer.exchange.scale(c, a, *mixer.exchange.gates_from_statistics(c, mean, agreement))
        return layer.residual(x, mixer.join(*gated))

    tiles.run(0, join, features, joined, into=into)


def _exchanges(layer: PreNormResidual) -> bool:
    return isinstance(layer.layer, ULM) and layer.layer.exchange is not None


def _radius(layer: PreNormResidual) -> int:
    if isinstance(layer.layer, ULM):
        return layer.layer.spatial.window.radius
    return layer.layer.receptive_radius[0]


class _Features:
    """A feature map, (1, C, H, W), read and written as it is."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def read(self, rows: slice, columns: slice) -> Tensor:
        return self.tensor[..., rows, columns]

    def write(self, rows: slice, columns: slice, values: Tensor) -> None:
        self.tensor[..., rows, columns] = values


class _Tiles:
    """The tiles of an image, to be gone over by one function after another."""

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
        passes = 2 + len(model.blocks) + len(layers) + sum(map(_exchanges, layers))
        self._total = batch * passes * len(self._cells(0))
        self._done = 0

    def _cells(self, halo: int) -> list[tuple[Cell, Cell]]:
        return list(product(*(cells(side, self._tile, halo) for side in self._size)))

    def run(
        self,
        halo: int,
        compute: Callable[..., Tensor],
        *sources: Pixels | _Features,
        into: Pixels | _Features,
        scale: int = 1,
        seen: Callable[[Tensor], object] | None = None,
    ) -> None:
        """Computes all tiles.

        Args:
            halo: Pixels around a tile that it depends on; ``into`` may be a source where there are none.
            compute: Gets a tile of each source, its halo included.
            sources: What it depends on.
            into: Takes the results.
            scale: How much larger they are.
            seen: Called with each result, without halo.
        """
        for rows, columns in self._cells(halo):
            result = self.autocast(compute, *(source.read(rows.read, columns.read) for source in sources))
            result = result[..., rows.keep(scale), columns.keep(scale)]
            if seen:
                seen(result)
            into.write(rows.write(scale), columns.write(scale), result)
            self._done += 1
            if self._progress:
                self._progress(self._done, self._total)
