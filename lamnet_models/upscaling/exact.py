"""LAMNet over an image in tiles, with the result of the whole image: stage by stage, its features kept outside."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import product
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from lamnet_layers import ULM
from lamnet_layers.feedforward import FFN
from lamnet_layers.residual import PreNormResidual

from ..errors import LAMNetError
from ..lamnet import LAMNet
from .memory import available_memory
from .tiling import Cell, Progress, cells

EXACT_TILES = (256, 128, 64)
"""Sides in pixels of the tiles, to be tried in turn where memory is short; what comes out does not depend on them."""

_STORES = 4  # shallow features, a block's input, the features, and what is made of them


def forward_exact(
    model: LAMNet,
    image: Tensor,
    device: torch.device,
    *,
    tile: int = EXACT_TILES[0],
    half: torch.dtype | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Runs LAMNet over images tile by tile, with the result of the whole image up to rounding.

    Tiles of an ordinary tiler differ from the whole image, because IEM takes means over all that it sees. Here each
    layer goes over the whole image before the next one begins; it reads as many pixels around a tile as it depends on,
    and the means are those of all tiles. Between the layers, features lie in the host's memory, four maps of them, or
    in a temporary file where that is too small.

    Args:
        model: The network, in evaluation mode, on ``device``.
        image: Images, (B, C, H, W), on the CPU.
        device: Where to compute; it holds one tile at a time.
        tile: Largest side of a tile in input pixels.
        half: Type of autocast; None for the network's own type.
        progress: Called after each tile of each layer.

    Returns:
        The enlarged images, (B, C, scale·H, scale·W), on the CPU.

    Raises:
        LAMNetError: If neither memory nor disk has room for the features.
    """
    shape = (image.shape[0], model.num_features, *image.shape[2:])
    with _stores(shape, model.mean.dtype) as (shallow, start, features, spare):
        tiles = _Tiles(model, image.shape[-2:], device, tile, half, progress)
        tiles.run(1, model.extract, image, into=shallow)
        features.copy_(shallow)
        for block in model.blocks:
            start.copy_(features)
            for layer in block.layers:
                if isinstance(layer.layer, ULM) and layer.layer.exchange is not None:
                    _mix(tiles, layer, features, spare)
                else:
                    tiles.run(_radius(layer), layer, features, into=spare)
                    features, spare = spare, features
            tiles.run(0, block.residual, start, features, into=features)
        out = image.new_empty(
            (image.shape[0], model.in_chans, *(model.scale * side for side in image.shape[2:])), dtype=features.dtype
        )
        tiles.run(2, model.reconstruct, shallow, features, into=out, scale=model.scale)
    return out


def _mix(tiles: _Tiles, layer: PreNormResidual, features: Tensor, spare: Tensor) -> None:
    """Runs a mixer whose branches exchange means over the image: once to gather these, once to use them."""
    mixer = layer.layer
    batch, channels, height, width = features.shape
    sums = torch.zeros(2, batch, channels // 2, dtype=torch.float64)

    def gather(joined: Tensor) -> None:
        pixels = joined.shape[2] * joined.shape[3]
        sums.add_(torch.stack(mixer.exchange.summarise(*joined.chunk(2, dim=1))).cpu().double(), alpha=pixels)

    def branches(x: Tensor) -> Tensor:
        return torch.cat(mixer.branches(layer.norm(x)), dim=1)

    tiles.run(mixer.spatial.window.radius, branches, features, into=spare, seen=gather)
    mean, agreement = (sums / (height * width)).to(features.dtype).to(tiles.device)

    def join(x: Tensor, joined: Tensor) -> Tensor:
        c, a = joined.chunk(2, dim=1)
        gated = mixer.exchange.scale(c, a, *mixer.exchange.gates_from(c, mean, agreement))
        return layer.residual(x, mixer.join(*gated))

    tiles.run(0, join, features, spare, into=features)


def _radius(layer: PreNormResidual) -> int:
    if isinstance(layer.layer, ULM):
        return layer.layer.spatial.window.radius
    return 0 if isinstance(layer.layer, FFN) else 1


class _Tiles:
    """The tiles of an image, to be gone over by one function after another."""

    def __init__(
        self,
        model: LAMNet,
        size: torch.Size,
        device: torch.device,
        tile: int,
        half: torch.dtype | None,
        progress: Progress | None,
    ) -> None:
        self.device = device
        self._dtype = model.mean.dtype
        self._size = size
        self._tile = tile
        self._half = half
        self._progress = progress
        layers = [layer.layer for block in model.blocks for layer in block.layers]
        twice = sum(getattr(layer, "exchange", None) is not None for layer in layers)
        self._total = (2 + len(model.blocks) + len(layers) + twice) * len(self._cells(0))
        self._done = 0

    def _cells(self, halo: int) -> list[tuple[Cell, Cell]]:
        return list(product(*(cells(side, self._tile, halo) for side in self._size)))

    def run(
        self,
        halo: int,
        compute: Callable[..., Tensor],
        *sources: Tensor,
        into: Tensor,
        scale: int = 1,
        seen: Callable[[Tensor], None] | None = None,
    ) -> None:
        """Computes all tiles.

        Args:
            halo: Pixels around a tile that it depends on; ``into`` may be a source where there are none.
            compute: Gets a tile of each source, its halo included.
            sources: (B, C, H, W) each.
            into: Takes the results, (B, C', scale·H, scale·W).
            scale: How much larger they are.
            seen: Called with each result, without halo.
        """
        autocast = torch.autocast(self.device.type, self._half) if self._half else nullcontext()
        for rows, columns in self._cells(halo):
            with autocast:
                tiles = (source[..., rows.read, columns.read].to(self.device, self._dtype) for source in sources)
                result = compute(*tiles)[..., rows.keep(scale), columns.keep(scale)]
                if seen:
                    seen(result)
            into[..., rows.write(scale), columns.write(scale)] = result
            self._done += 1
            if self._progress:
                self._progress(self._done, self._total)


@contextmanager
def _stores(shape: tuple[int, ...], dtype: torch.dtype) -> Iterator[list[Tensor]]:
    """Makes room for feature maps (B, C, H, W), channels last, in memory or, if it is short, in a temporary file."""
    count = _STORES * prod(shape)
    size = count * dtype.itemsize
    if size <= 0.7 * available_memory(torch.device("cpu")):
        yield _maps(torch.empty(count, dtype=dtype), shape)
        return
    folder = Path(tempfile.gettempdir())
    if size > 0.95 * (free := shutil.disk_usage(folder).free):
        raise LAMNetError(
            f"the features of {shape[3]}x{shape[2]} pixels take {size / 1e9:.1f} GB, more than is left in memory, and "
            f"in {folder} there are {free / 1e9:.1f} GB: make room, name another folder in TMPDIR, or take tiles of 256"
        )
    warnings.warn(f"features kept in {folder}, {size / 1e9:.1f} GB: memory is short", RuntimeWarning, stacklevel=2)
    with tempfile.TemporaryDirectory(prefix="lamnet-", ignore_cleanup_errors=True) as place:
        yield _maps(torch.from_file(str(Path(place) / "features"), shared=True, size=count, dtype=dtype), shape)


def _maps(memory: Tensor, shape: tuple[int, ...]) -> list[Tensor]:
    batch, channels, height, width = shape
    return list(memory.view(_STORES, batch, height, width, channels).permute(0, 1, 4, 2, 3))
