"""Memory queries, memory estimates, and the tile plan that they select."""

from __future__ import annotations

import json
import math
import re
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from lamnet_layers.backend import select_backend
from lamnet_layers.chunking import treat_meta_as

from ..errors import LAMNetError
from ..lamnet import LAMNet
from .tiling import EXACT_TILES, STORED_MAPS

try:
    import resource
except ImportError:  # Windows
    resource = None

RESERVE = 128 * 2**20
"""Bytes reserved for uncounted memory: allocator caches, threads, an encoder's rows."""

AUTO_TILE = 256
"""Tile side for large images with networks that do not support exact tiles. It is fixed, so that tiled results do not
depend on the amount of free memory."""

_CGROUP = Path("/sys/fs/cgroup")
_FEATURE_MAPS = 20  # assumed alive at once in networks other than LAMNet
_FLOAT = 4
_MAX_SIDE = 512  # of a profiled square: beyond it, memory per pixel is constant


def parse_memory(size: int | str) -> int:
    """Parse a number of bytes, or text such as ``"512M"``, ``"4G"`` or ``"1.5 GiB"``.

    K, M, G and T are powers of 1,024, as for ``ulimit`` and containers; KB, MB, GB and TB are powers of 1,000.

    Raises:
        ValueError: If the text is not a memory size.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(?:([kmgt])(i?b)?|b)?", str(size).strip().lower())
    if match is None:
        raise ValueError(f"max_memory must be a number of bytes or a size such as 512M or 4G, got {size!r}")
    number, unit, end = match.groups()
    exponent = " kmgt".index(unit or " ")
    return int(float(number) * (1000 if end == "b" else 1024) ** exponent)


def format_memory(size: float) -> str:
    """Format bytes in M (MiB), rounded up, as accepted by ``parse_memory``."""
    return f"{-(-int(size) // 2**20)}M"


def host_memory(max_memory: int | None = None) -> float:
    """Return the usable bytes of host memory: 80% of the available, within ``max_memory``.

    Args:
        max_memory: Limit of the process's memory in bytes, of which ``RESERVE`` is kept free; None: no limit.
    """
    free = 0.8 * available_memory(torch.device("cpu"))
    return free if max_memory is None else min(free, max_memory - used_memory() - RESERVE)


def used_memory() -> int:
    """Return the bytes of the process's private memory.

    Excludes code and mapped files, which the system can drop and read again.
    """
    info = psutil.Process().memory_info()
    return info.rss - getattr(info, "shared", 0)


def available_memory(device: torch.device) -> float:
    """Return the bytes that can still be allocated on a device, including torch's cached blocks."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return min(psutil.virtual_memory().available, _cgroup_headroom(), _rlimit_data_headroom())


def _cgroup_headroom() -> float:
    """Return the bytes left under a Linux cgroup v2 limit, which psutil ignores."""
    try:
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        statistics = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return limit - used + int(statistics["inactive_file"])  # cached files are reclaimed
    except (OSError, ValueError, KeyError):  # missing file, or "max": no limit
        return float("inf")


def _rlimit_data_headroom() -> float:
    """Return the bytes left under ``ulimit -d``, which counts all private memory on Linux."""
    data = getattr(psutil.Process().memory_info(), "data", None)
    if resource is None or data is None:
        return float("inf")
    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return float("inf") if limit == resource.RLIM_INFINITY else limit - data


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak memory of a tile plan in bytes, beyond the weights and the memory already in use.

    Attributes:
        compute: One forward pass, on the network's device.
        buffers: Image buffers for input and output, in host memory.
        features: Features stored between layers, in host memory or a file.
        result: SR pixels, in host memory or a file.
        fill: Filling in colors under transparent pixels, in host memory, before everything else.
    """

    compute: int = 0
    buffers: int = 0
    features: int = 0
    result: int = 0
    fill: int = 0

    def host(self, computes_on_host: bool, features_in_file: bool = False, result_in_file: bool = False) -> int:
        """Return the peak in host memory in bytes."""
        total = self.buffers + (self.compute if computes_on_host else 0)
        total += (0 if features_in_file else self.features) + (0 if result_in_file else self.result)
        return max(self.fill, total)


@dataclass(frozen=True)
class TilePlan:
    """Tiling of an image, and what is stored in temporary files instead of memory.

    Attributes:
        tile: Largest side of a tile in pixels; 0: the whole image at once.
        is_exact: Whether the tiles reproduce the result of the whole image.
        estimate: Estimated memory.
        features_in_file: Whether features are stored in a file.
        result_in_file: Whether the SR pixels are stored in a file.
    """

    tile: int = 0
    is_exact: bool = False
    estimate: MemoryEstimate = MemoryEstimate()
    features_in_file: bool = False
    result_in_file: bool = False

    def __str__(self) -> str:
        if self.tile == 0:
            return "the whole image"
        return f"{'exact ' if self.is_exact else ''}tiles of {self.tile} pixels"

    @property
    def tile_option(self) -> int | str:
        """Value of the argument ``tile`` that selects this plan: 0, a side in pixels, or ``"exact"``."""
        return "exact" if self.is_exact else self.tile

    @property
    def in_files(self) -> dict[str, int]:
        """Names and bytes of the data stored in files."""
        files = {"features": self.features_in_file and self.estimate.features}
        files["result"] = self.result_in_file and self.estimate.result
        return {name: size for name, size in files.items() if size}

    @staticmethod
    def smallest(plans: Iterable[TilePlan]) -> TilePlan:
        """Return the plan with the smallest tiles; the whole image counts as the largest."""
        return min(plans, key=lambda plan: plan.tile or math.inf)


@dataclass(frozen=True)
class TilePlanner:
    """Selection of tile plans for images.

    Attributes:
        model: The network.
        device: The network's device.
        tile: Side of the tiles, 0, ``"exact"`` or ``"auto"``, see ``Upscaler``.
        tile_pad: Pixels of padding around a tile.
        max_memory: Limit of the process's memory in bytes; None: no limit.
    """

    model: nn.Module
    device: torch.device
    tile: int | str
    tile_pad: int
    max_memory: int | None = None

    def plans(self, shape: Sequence[int], itemsize: int = 1) -> Iterator[TilePlan]:
        """Yield the plan for the current free memory, then fallbacks for an out-of-memory error.

        Args:
            shape: (B, C, H, W) of the images.
            itemsize: Bytes per value.

        Raises:
            LAMNetError: If every plan exceeds ``max_memory``.
        """
        tilings = self._tilings(max(shape[2:]))
        while tilings:
            plan, *tilings = self._plan(*tilings[0], shape, itemsize), *tilings[1:]
            # Tiles in memory are preferred to the whole image with its result in a file.
            if not tilings or (self._fits(plan) and (plan.tile or not plan.in_files)):
                break
            if self.max_memory is None and plan.tile:  # none may fit: the largest tiles are the fastest
                break
        if self.max_memory is not None and self.max_memory < (minimum := self._min_memory(plan)):
            advice = "" if self.tile in ("auto", "exact") else "; use exact tiles"
            raise LAMNetError(
                f"max_memory must be at least {format_memory(minimum)} for {shape[3]}x{shape[2]} pixels in "
                f"{plan}, got {format_memory(self.max_memory)}{advice}"
            )
        yield plan
        for tiling in tilings:
            yield self._plan(*tiling, shape, itemsize)

    def min_memory(self) -> int:
        """Return the process memory in bytes needed for an image of the smallest exact tile size."""
        side = EXACT_TILES[-1]
        shape = (1, self.model.in_chans, side, side)
        estimate = estimate_memory(self.model, shape, side, self._supports_exact, tile_pad=self.tile_pad)
        return self._min_memory(TilePlan(side, self._supports_exact, estimate, True, True))

    def _tilings(self, side: int) -> list[tuple[int, bool]]:
        """Return tile sides, and whether the tiles are exact, in the order of preference."""
        exact = [(tile, True) for tile in EXACT_TILES]
        if self.tile == "exact":
            return exact
        if self.tile == "auto":
            smaller = exact if self._supports_exact else [(AUTO_TILE, False)]
            return [(0, False), *((tile, is_exact) for tile, is_exact in smaller if side > tile)]
        return [(self.tile if side > self.tile else 0, False)]

    def _plan(self, tile: int, is_exact: bool, shape: Sequence[int], itemsize: int) -> TilePlan:
        estimate = estimate_memory(self.model, tuple(shape), tile, is_exact, itemsize, self.tile_pad)
        in_files = ((False, False), (False, True), (True, True))  # features, result
        plans = [TilePlan(tile, is_exact, estimate, *files) for files in in_files]
        return next((plan for plan in plans if self._excess(plan) <= 0), plans[-1])

    def _fits(self, plan: TilePlan) -> bool:
        fits_device = self._computes_on_host or plan.estimate.compute <= 0.8 * available_memory(self.device)
        return fits_device and self._excess(plan) <= 0

    def _min_memory(self, plan: TilePlan) -> int:
        """Return the smallest ``max_memory`` in bytes under which a plan runs."""
        return used_memory() + RESERVE + self._host(plan)

    def _excess(self, plan: TilePlan) -> float:
        """Return the bytes by which a plan exceeds the free host memory."""
        return self._host(plan) - host_memory(self.max_memory)

    def _host(self, plan: TilePlan) -> int:
        return plan.estimate.host(self._computes_on_host, plan.features_in_file, plan.result_in_file)

    @property
    def _computes_on_host(self) -> bool:
        return self.device.type == "cpu"

    @property
    def _supports_exact(self) -> bool:
        return isinstance(self.model, LAMNet)


def estimate_memory(
    model: nn.Module,
    shape: tuple[int, ...],
    tile: int = 0,
    is_exact: bool = False,
    itemsize: int = 1,
    tile_pad: int = 32,
) -> MemoryEstimate:
    """Estimate the peak memory of upscaling images.

    Args:
        model: The network.
        shape: (B, C, H, W) of the images; C may differ from the network's, see ``Upscaler``.
        tile: Largest side of a tile in pixels; 0: the whole image at once.
        is_exact: Whether the tiles are exact.
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
    row_bytes = batch * model.in_chans * scale**2 * width * _FLOAT  # of the output, per input row
    pad = model.window.radius if is_exact else tile_pad
    sides = [min(side, tile + 2 * pad) if tile else side for side in (height, width)]
    compute = _forward_memory(model, 1 if is_exact else batch, *sides)
    if is_exact:
        features = STORED_MAPS * model.num_features * pixels * model.mean.dtype.itemsize
    elif tile:
        buffers += 2 * row_bytes * min(height, tile + tile_pad)  # one row of tiles, and its copy for writing
    else:
        compute = max(compute, 2 * row_bytes * height)
    return MemoryEstimate(compute, buffers, features, result, fill)


def estimate_process_memory(model: LAMNet, height: int, width: int) -> dict[str, int]:
    """Estimate the peak memory of a process that upscales one 8-bit RGB image, by tile plan.

    The sum of this process's current memory (``used_memory``), the plan's estimate in float32 on a CPU, and
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
        estimate_memory(model, shape, tile, is_exact) for tile, is_exact in ((0, False), (EXACT_TILES[0], True))
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
    backend = next((layer.backend for layer in model.modules() if hasattr(layer, "backend")), None)
    config["backend"] = select_backend(backend, device_type) if device_type == "cpu" else "eager"
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
