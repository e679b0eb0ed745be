"""CPU tiling of layers whose intermediate feature maps are large."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise, product
from math import ceil, isqrt

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

_TILING_THRESHOLD = 16 * 2**20  # bytes; allocators usually reuse the memory of smaller maps
_TILE_BYTES = _TILING_THRESHOLD // 2
_MIN_TILE_SIDE = 32  # pixels; narrower tiles have short contiguous runs and relatively large halos

_meta_device_type: ContextVar[str] = ContextVar("lamnet_meta_device_type", default="meta")


@contextmanager
def treat_meta_as(device_type: str) -> Iterator[None]:
    """Treat tensors on the meta device as if on ``device_type``, to count the memory used there."""
    token = _meta_device_type.set(device_type)
    try:
        yield
    finally:
        _meta_device_type.reset(token)


def apply_tiled(
    module: nn.Module,
    compute: Callable[[Tensor], Tensor],
    x: Tensor,
    channels: int,
    radius: tuple[int | None, int | None],
) -> Tensor:
    """Compute ``compute(x)``, tile by tile for large maps on a CPU; equal up to rounding.

    On a CPU, fresh memory for a large map costs more time (page faults) than the computation. Tiling is skipped when
    gradients are recorded (the maps are kept anyway), in compiled, exported and traced programs, and when a hook is
    registered. All tiles of a map have the same shape, so a compiled module is not recompiled for each.

    Args:
        module: The layer, checked for hooks.
        compute: Its function, (B, C, h, w) → (B, D, h, w).
        x: Feature map, (B, C, H, W).
        channels: Number of channels of the widest intermediate map.
        radius: Receptive radius in rows and columns; None for unbounded.
    """
    if torch.compiler.is_compiling():  # first: reading a size would add a guard to the program
        return compute(x)
    batch, _, height, width = x.shape
    bytes_per_pixel = channels * (2 if torch.is_autocast_enabled("cpu") else x.element_size())
    if batch * height * width * bytes_per_pixel <= _TILING_THRESHOLD or not _should_tile(module, x):
        return compute(x)
    pixels = max(1, _TILE_BYTES // bytes_per_pixel)
    images = next(count for count in range(max(1, pixels // (height * width)), 0, -1) if batch % count == 0)
    rows, columns = _tile_shape(height, width, pixels, radius)
    out: Tensor | None = None
    axes = _split_axis(batch, images, 0), _split_axis(height, rows, radius[0]), _split_axis(width, columns, radius[1])
    for parts in product(*axes):
        read, keep, write = ((image, slice(None), *sides) for image, *sides in zip(*parts, strict=True))
        result = compute(_extract_tile(x, read))
        if out is None:
            out = _empty_like(result, batch, height, width)
        out[write] = result[keep]
    return out


def _should_tile(module: nn.Module, x: Tensor) -> bool:
    device_type = _meta_device_type.get() if x.is_meta else x.device.type
    if device_type != "cpu" or torch.is_grad_enabled() or torch.jit.is_tracing():
        return False
    # Hooks must see the whole map.
    hooks = (
        hooks for submodule in module.modules() for hooks in (submodule._forward_hooks, submodule._forward_pre_hooks)
    )
    return not (any(hooks) or _has_any_global_hook())


def _tile_shape(height: int, width: int, pixels: int, radius: tuple[int | None, int | None]) -> tuple[int, int]:
    """Return rows and columns of a tile of about ``pixels`` pixels.

    Bands if the radius is unbounded along one axis or the halo is small relative to the band, else squares.
    """
    if radius[0] is None:
        return height, max(_MIN_TILE_SIDE, pixels // height)
    rows = max(1, pixels // width)
    if radius[1] is None or rows >= _MIN_TILE_SIDE * radius[0]:
        return rows, width
    side = max(_MIN_TILE_SIDE, isqrt(pixels))
    return side, side


def _split_axis(size: int, length: int, radius: int | None) -> list[tuple[slice, slice, slice]]:
    """Split an axis into overlapping parts of equal size: slices (read, keep, write).

    ::

        read   [first, first + n)               part of the input, halo included; n is equal for all parts
        keep   [start − first, stop − first)    part of the result without the halo
        write  [start, stop)                    its position in the output; these partition [0, size)
    """
    count, radius = ceil(size / length), radius or 0
    read = ceil((size + 2 * radius * (count - 1)) / count)
    firsts = [(size - read) * index // max(1, count - 1) for index in range(count)]
    edges = [0, *(first + radius for first in firsts[1:]), size]
    return [
        (slice(first, first + read), slice(start - first, stop - first), slice(start, stop))
        for first, (start, stop) in zip(firsts, pairwise(edges), strict=True)
    ]


def _extract_tile(x: Tensor, index: tuple[slice, ...]) -> Tensor:
    tile = x[index]
    if tile.stride(1) != 1:
        return tile
    # Copy to canonical strides: compiled layers are specialized on strides, including that of a batch of one.
    pixels = tile.permute(0, 2, 3, 1)
    return pixels.contiguous().flatten().view(pixels.shape).permute(0, 3, 1, 2)


def _empty_like(tile: Tensor, batch: int, height: int, width: int) -> Tensor:
    """Return an empty full-size map with the layout and vmap level of ``tile``."""
    if tile.stride(1) == 1:
        return tile.new_empty(batch, height, width, tile.shape[1]).permute(0, 3, 1, 2)
    return tile.new_empty(batch, tile.shape[1], height, width)
