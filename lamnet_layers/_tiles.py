"""Layers computed tile by tile, where what lies between input and result takes more memory than is kept for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise, product
from math import ceil, isqrt

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

_LARGEST = 16 * 2**20  # bytes of a map for which an allocator may still have memory from the layer before
_TILE = _LARGEST // 2
_NARROWEST = 32  # pixels; narrower tiles are copied in bits, and overlap much

_meta_stands_for: ContextVar[str] = ContextVar("lamnet_meta_stands_for", default="meta")


@contextmanager
def meta_stands_for(device_type: str) -> Iterator[None]:
    """Has layers treat tensors on the meta device as those of another one: what these take can be counted so."""
    token = _meta_stands_for.set(device_type)
    try:
        yield
    finally:
        _meta_stands_for.reset(token)


def in_tiles(
    module: nn.Module,
    compute: Callable[[Tensor], Tensor],
    x: Tensor,
    channels: int,
    reach: tuple[int | None, int | None],
) -> Tensor:
    """Returns what a layer makes of feature maps; of large ones on a CPU tile by tile, the same up to rounding.

    Memory for a large map comes fresh from the system each time, which takes longer than to compute what is written
    there. With gradients it is kept anyway, and nothing is in tiles; nor in compiled and exported programs, nor where a
    hook watches. What is compiled itself, and called for each tile, sees one shape.

    Args:
        module: The layer.
        compute: What it does, (B, C, h, w) → (B, D, h, w).
        x: Feature maps, (B, C, H, W).
        channels: Channels of the widest map between them and the result.
        reach: Rows and columns to each side of a pixel that its result depends on; None for all there are.
    """
    if torch.compiler.is_compiling():  # first: a size that is asked for becomes a condition of the program
        return compute(x)
    batch, _, height, width = x.shape
    pixel = channels * (2 if torch.is_autocast_enabled("cpu") else x.element_size())  # bytes
    if batch * height * width * pixel <= _LARGEST or not _gains(module, x):
        return compute(x)
    pixels = max(1, _TILE // pixel)
    images = next(count for count in range(max(1, pixels // (height * width)), 0, -1) if batch % count == 0)
    rows, columns = _sides(height, width, pixels, reach)
    out: Tensor | None = None
    for cuts in product(_cuts(batch, images, 0), _cuts(height, rows, reach[0]), _cuts(width, columns, reach[1])):
        read, keep, write = ((image, slice(None), *sides) for image, *sides in zip(*cuts, strict=True))
        result = compute(_part(x, read))
        if out is None:
            out = _empty_like(result, batch, height, width)
        out[write] = result[keep]
    return out


def _gains(module: nn.Module, x: Tensor) -> bool:
    device_type = _meta_stands_for.get() if x.is_meta else x.device.type
    if device_type != "cpu" or torch.is_grad_enabled() or torch.jit.is_tracing():
        return False
    # Who watches a layer by a hook, to look into it or to count what it does, shall see it at work on the whole.
    hooks = (hooks for part in module.modules() for hooks in (part._forward_hooks, part._forward_pre_hooks))
    return not (any(hooks) or _has_any_global_hook())


def _sides(height: int, width: int, pixels: int, reach: tuple[int | None, int | None]) -> tuple[int, int]:
    """Returns rows and columns of a tile of so many pixels: a band, if it needs all of a line or overlaps little."""
    if reach[0] is None:
        return height, max(_NARROWEST, pixels // height)
    rows = max(1, pixels // width)
    if reach[1] is None or rows >= _NARROWEST * reach[0]:
        return rows, width
    side = max(_NARROWEST, isqrt(pixels))
    return side, side


def _cuts(size: int, length: int, reach: int | None) -> list[tuple[slice, slice, slice]]:
    """Cuts an axis into parts: what each reads, as much as the others; what of that it keeps; and where that goes."""
    count, reach = ceil(size / length), reach or 0
    read = ceil((size + 2 * reach * (count - 1)) / count)
    firsts = [(size - read) * index // max(1, count - 1) for index in range(count)]
    edges = [0, *(first + reach for first in firsts[1:]), size]
    return [
        (slice(first, first + read), slice(start - first, stop - first), slice(start, stop))
        for first, (start, stop) in zip(firsts, pairwise(edges), strict=True)
    ]


def _part(x: Tensor, index: tuple[slice, ...]) -> Tensor:
    part = x[index]
    if part.stride(1) != 1:
        return part
    # As if it were a map of its own: a compiled layer is compiled for the strides too, even those of a batch of one.
    pixels = part.permute(0, 2, 3, 1)
    return pixels.contiguous().flatten().view(pixels.shape).permute(0, 3, 1, 2)


def _empty_like(part: Tensor, batch: int, height: int, width: int) -> Tensor:
    """Returns a map for all parts, laid out as this one; what is mapped over is mapped over there too."""
    if part.stride(1) == 1:
        return part.new_empty(batch, height, width, part.shape[1]).permute(0, 3, 1, 2)
    return part.new_empty(batch, part.shape[1], height, width)
