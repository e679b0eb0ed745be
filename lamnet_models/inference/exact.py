"""Exact tiling for LAMNet: layer by layer, with the result of the whole image."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from lamnet_layers import ULM
from lamnet_layers.residual import PreNormResidual

from ..devices import Autocast
from ..lamnet import LAMNet
from .pixels import Pixels, empty
from .tiling import Cell, Progress, cells

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
                tiles.run(_radius(layer), layer.forward_tiled, features, into=target)
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
        return mixer.concat_branches(*mixer.branches(layer.norm(x)))

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
    if isinstance(layer.layer, ULM):
        return layer.layer.spatial.window.radius
    return layer.layer.receptive_radius[0]


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
