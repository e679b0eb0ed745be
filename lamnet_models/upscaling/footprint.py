"""What memory each way to go about an image takes, known before anything is computed."""

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
from .exact import EXACT_TILES, STORES
from .memory import RESERVE, used_memory

_FEATURE_MAPS = 20
_FLOAT = 4
_COUNTED = 512  # side of the largest square that is counted: what a pixel takes grows no more


@dataclass(frozen=True)
class Way:
    """A way to go about an image.

    Attributes:
        tile: Largest side of its tiles in pixels; 0 is the whole image at once.
        is_exact: Whether tiles give the whole image's result.
    """

    tile: int = 0
    is_exact: bool = False

    def __str__(self) -> str:
        if self.tile == 0:
            return "the whole image"
        return f"{'exact ' if self.is_exact else ''}tiles of {self.tile} pixels"


@dataclass(frozen=True)
class Footprint:
    """Bytes that a way takes at its peak, weights and all that was there before aside.

    Attributes:
        compute: For one forward pass, where the network is.
        held: For images on their way in and out, in the host's memory.
        features: For what is kept between the layers, in the host's memory or a file.
        result: For the enlarged pixels, in the host's memory or a file.
        first: Before all that, in the host's memory, to fill in colours under transparent pixels.
    """

    compute: int
    held: int
    features: int
    result: int
    first: int = 0

    def host(self, computes: bool, features_in_file: bool = False, result_in_file: bool = False) -> int:
        """Returns the bytes in the host's memory, where the network is there too, or is not."""
        total = self.held + (self.compute if computes else 0)
        total += (0 if features_in_file else self.features) + (0 if result_in_file else self.result)
        return max(self.first, total)


def footprint(model: nn.Module, way: Way, shape: tuple[int, ...], itemsize: int = 1, tile_pad: int = 32) -> Footprint:
    """Returns what memory a way takes.

    Args:
        model: The network.
        way: The way.
        shape: (B, C, H, W) of the images; C may differ from the network's, see ``Inference.enlarge``.
        itemsize: Bytes of one value of the result.
        tile_pad: Pixels around a tile, unless it is exact.
    """
    batch, channels, height, width = shape
    scale, pixels = model.scale, height * width
    result = batch * channels * scale**2 * pixels * itemsize
    held = first = features = 0
    if channels in (2, 4) and channels != model.in_chans:
        held = batch * channels * pixels * _FLOAT  # colours filled in, and alpha
        first = batch * (5 * channels - 1) * pixels * _FLOAT  # as measured
    images = batch * channels if channels > model.in_chans == 1 else batch  # what the network sees
    larger = images * model.in_chans * scale**2 * width * _FLOAT  # for each row of the input
    pad = model.window.radius if way.is_exact else tile_pad
    sides = [min(side, way.tile + 2 * pad) if way.tile else side for side in (height, width)]
    compute = _forward_memory(model, 1 if way.is_exact else images, *sides)
    if way.is_exact:
        features = STORES * model.num_features * pixels * model.mean.dtype.itemsize
    elif way.tile:
        held += 2 * larger * min(height, way.tile + tile_pad)  # one row of tiles, and as much on its way out
    else:
        compute = max(compute, 2 * larger * height)
    return Footprint(compute, held, features, result, first)


def process_memory(model: LAMNet, height: int, width: int) -> dict[str, int]:
    """Returns the bytes that a process which enlarges one 8-bit RGB image has at its peak, for each way.

    Counted as ``used_memory`` does, in float32 on a CPU: what this process has now, what each way takes, and a reserve
    for what nobody counts.

    Args:
        model: The network; it may be on the meta device.
        height: Rows of the image.
        width: Columns of the image.

    Returns:
        ``whole``, for the whole image; ``exact``, for exact tiles with all in memory; ``exact_in_files``, for these
        with features and result in files; and ``files``, the bytes of these.
    """
    shape = (1, model.in_chans, height, width)
    base = used_memory() + RESERVE + prod(shape)
    whole, exact = (footprint(model, way, shape) for way in (Way(), Way(EXACT_TILES[0], is_exact=True)))
    return {
        "whole": base + whole.host(True),
        "exact": base + exact.host(True),
        "exact_in_files": base + exact.host(True, True, True),
        "files": exact.features + exact.result,
    }


def _forward_memory(model: nn.Module, batch: int, height: int, width: int) -> int:
    """Returns the bytes that a forward pass without gradients takes at its peak, in the network's own type.

    Of LAMNet they are counted, see ``_counted_memory``; half precision takes less. For other networks they are taken to
    be 20 maps of features.
    """
    pixels = batch * height * width
    if not isinstance(model, LAMNet):
        return _FEATURE_MAPS * getattr(model, "num_features", 64) * _FLOAT * pixels
    # Memory does not grow with depth: two mixers show all that is alive at once, and the input of a block beyond the
    # first is one more map. Counted at a size a little larger, so that not every size has to be counted.
    config = model.config | {"num_blocks": 1, "depth": min(2, model.config["depth"])}
    sides = [min(side, max(_COUNTED, _COUNTED**2 // other)) for side, other in ((height, width), (width, height))]
    sides = [-(-side // step) * step for side in sides for step in [max(8, 2 ** (side.bit_length() - 3))]]
    device_type = "cpu" if model.mean.is_meta else model.mean.device.type
    counted = _counted_memory(json.dumps(config), model.mean.dtype, (model.in_chans, *sides), device_type)
    start = model.num_features * model.mean.dtype.itemsize if len(model.blocks) > 1 else 0
    return int(pixels * (counted / prod(sides) + start))


@lru_cache(maxsize=256)
def _counted_memory(config: str, dtype: torch.dtype, shape: tuple[int, ...], device_type: str) -> int:
    """Counts the bytes of all tensors alive at once, in a forward pass on the meta device, which computes nothing."""
    model = LAMNet(**json.loads(config), device="meta", dtype=dtype).eval()
    with treat_meta_as(device_type), torch.no_grad(), _Living() as living:
        model(torch.empty(1, *shape, device="meta", dtype=dtype))
    return living.peak + prod(shape) * dtype.itemsize


class _Living(TorchDispatchMode):
    """Counts the bytes of tensors that are alive, and the most there ever were."""

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
