"""Memory estimates for each tiling mode, from a dry run on the meta device."""

from __future__ import annotations

import json
import weakref
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from lamnet_layers._tiles import treat_meta_as

from ..lamnet import LAMNet
from .exact import EXACT_TILES, STORED_MAPS
from .memory import RESERVE, used_memory

_FEATURE_MAPS = 20  # assumed alive at once in networks other than LAMNet
_FLOAT = 4
_MAX_SIDE = 512  # of a profiled square: beyond it, memory per pixel is constant


@dataclass(frozen=True)
class TilingMode:
    """Tile size and kind of tiling.

    Attributes:
        tile: Largest side of a tile in pixels; 0: the whole image at once.
        is_exact: Whether the tiles reproduce the result of the whole image.
    """

    tile: int = 0
    is_exact: bool = False

    def __str__(self) -> str:
        if self.tile == 0:
            return "the whole image"
        return f"{'exact ' if self.is_exact else ''}tiles of {self.tile} pixels"


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak memory of a tiling mode in bytes, beyond the weights and the memory already in use.

    Attributes:
        compute: One forward pass, on the network's device.
        buffers: Image buffers for input and output, in host memory.
        features: Features stored between layers, in host memory or a file.
        result: SR pixels, in host memory or a file.
        fill: Filling in colors under transparent pixels, in host memory, before everything else.
    """

    compute: int
    buffers: int
    features: int
    result: int
    fill: int = 0

    def host(self, computes_on_host: bool, features_in_file: bool = False, result_in_file: bool = False) -> int:
        """Return the peak in host memory in bytes."""
        total = self.buffers + (self.compute if computes_on_host else 0)
        total += (0 if features_in_file else self.features) + (0 if result_in_file else self.result)
        return max(self.fill, total)


def estimate_memory(
    model: nn.Module, mode: TilingMode, shape: tuple[int, ...], itemsize: int = 1, tile_pad: int = 32
) -> MemoryEstimate:
    """Estimate the peak memory of upscaling images in a tiling mode.

    Args:
        model: The network.
        mode: Tiling mode.
        shape: (B, C, H, W) of the images; C may differ from the network's, see ``Inference.upscale``.
        itemsize: Bytes per value of the result.
        tile_pad: Pixels around a tile; unused by exact tiles.
    """
    batch, channels, height, width = shape
    scale, pixels = model.scale, height * width
    result = batch * channels * scale**2 * pixels * itemsize
    buffers = fill = features = 0
    if channels in (2, 4) and channels != model.in_chans:
        buffers = batch * channels * pixels * _FLOAT  # filled-in colors, and alpha
        fill = batch * (5 * channels - 1) * pixels * _FLOAT  # measured
    images = batch * channels if channels > model.in_chans == 1 else batch  # batch size of the network
    row_bytes = images * model.in_chans * scale**2 * width * _FLOAT  # of the output, per input row
    pad = model.window.radius if mode.is_exact else tile_pad
    sides = [min(side, mode.tile + 2 * pad) if mode.tile else side for side in (height, width)]
    compute = _forward_memory(model, 1 if mode.is_exact else images, *sides)
    if mode.is_exact:
        features = STORED_MAPS * model.num_features * pixels * model.mean.dtype.itemsize
    elif mode.tile:
        buffers += 2 * row_bytes * min(height, mode.tile + tile_pad)  # one row of tiles, and its copy for writing
    else:
        compute = max(compute, 2 * row_bytes * height)
    return MemoryEstimate(compute, buffers, features, result, fill)


def estimate_process_memory(model: LAMNet, height: int, width: int) -> dict[str, int]:
    """Estimate the peak memory of a process that upscales one 8-bit RGB image, by tiling mode.

    The sum of this process's current memory (``used_memory``), the mode's estimate in float32 on a CPU, and
    ``RESERVE``.

    Args:
        model: The network; may be on the meta device.
        height: Rows of the image.
        width: Columns of the image.

    Returns:
        Bytes: ``whole`` for the whole image; ``exact`` for exact tiles in memory; ``exact_in_files`` for exact tiles
        with features and result in files; ``files`` for the size of these files.
    """
    shape = (1, model.in_chans, height, width)
    base = used_memory() + RESERVE + prod(shape)
    whole, exact = (
        estimate_memory(model, mode, shape) for mode in (TilingMode(), TilingMode(EXACT_TILES[0], is_exact=True))
    )
    return {
        "whole": base + whole.host(True),
        "exact": base + exact.host(True),
        "exact_in_files": base + exact.host(True, True, True),
        "files": exact.features + exact.result,
    }


def _forward_memory(model: nn.Module, batch: int, height: int, width: int) -> int:
    """Estimate the peak bytes of a forward pass without gradients in the network's dtype.

    LAMNet is profiled, see ``_peak_bytes_on_meta``; half precision takes less. Other networks are assumed to hold 20
    feature maps.
    """
    pixels = batch * height * width
    if not isinstance(model, LAMNet):
        return _FEATURE_MAPS * getattr(model, "num_features", 64) * _FLOAT * pixels
    # Memory does not grow with depth: two mixers reach the peak, and a second block adds one map, its input.
    # Sides are rounded up to a few sizes, which the cache holds, and the result is scaled down to the actual pixels.
    config = model.config | {"num_blocks": 1, "depth": min(2, model.config["depth"])}
    sides = [min(a, max(_MAX_SIDE, _MAX_SIDE**2 // b)) for a, b in ((height, width), (width, height))]
    sides = [-(-side // unit) * unit for side in sides for unit in [max(8, 2 ** (side.bit_length() - 3))]]
    device_type = "cpu" if model.mean.is_meta else model.mean.device.type
    peak = _peak_bytes_on_meta(json.dumps(config), model.mean.dtype, (model.in_chans, *sides), device_type)
    block_input = model.num_features * model.mean.dtype.itemsize if len(model.blocks) > 1 else 0
    return int(pixels * (peak / prod(sides) + block_input))


@lru_cache(maxsize=256)
def _peak_bytes_on_meta(config: str, dtype: torch.dtype, shape: tuple[int, ...], device_type: str) -> int:
    """Return the peak bytes of live tensors in a forward pass on the meta device."""
    model = LAMNet(**json.loads(config), device="meta", dtype=dtype).eval()
    with treat_meta_as(device_type), torch.no_grad(), _LiveBytes() as living:
        model(torch.empty(1, *shape, device="meta", dtype=dtype))
    return living.peak + prod(shape) * dtype.itemsize


class _LiveBytes(TorchDispatchMode):
    """Counter of live tensor bytes and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._bytes = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor) and (key := (storage := tensor.untyped_storage())._cdata) not in self._known:
                self._known.add(key)
                self._bytes += storage.nbytes()
                self.peak = max(self.peak, self._bytes)
                weakref.finalize(storage, self._forget, key, storage.nbytes())
        return result

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._bytes -= size
