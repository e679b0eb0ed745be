"""CPU chunking of layers whose intermediate feature maps are large."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise, product
from math import ceil, isqrt

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from .validation import is_traced

_THRESHOLD = 16 * 2**20  # bytes; allocators usually reuse the memory of smaller maps
_CHUNK_BYTES = _THRESHOLD // 2
_MIN_SIDE = 32  # pixels; narrower chunks have short contiguous runs and relatively large halos

_meta_device_type: ContextVar[str] = ContextVar("lamnet_meta_device_type", default="meta")


@contextmanager
def treat_meta_as(device_type: str) -> Iterator[None]:
    """Context manager that computes with meta tensors as on ``device_type``, to count the memory used there."""
    token = _meta_device_type.set(device_type)
    try:
        yield
    finally:
        _meta_device_type.reset(token)


def apply_chunked(
    modules: tuple[nn.Module, ...],
    compute: Callable[[Tensor], Tensor],
    x: Tensor,
    channels: int,
    radius: tuple[int, int],
) -> Tensor:
    """Compute ``compute(x)``, chunk by chunk for large maps on a CPU; equal up to rounding.

    On a CPU, fresh memory for a large map costs more time (page faults) than the computation. Chunking is skipped when
    gradients are recorded (the maps are kept anyway), in compiled, exported and traced programs, and when a hook is
    registered. All chunks of a map have the same shape, so a compiled module is not recompiled for each.

    Args:
        modules: Modules called by ``compute``, checked for hooks.
        compute: Function (B, C, h, w) → (B, D, h, w).
        x: Feature map, (B, C, H, W).
        channels: Number of channels of the widest intermediate map.
        radius: Receptive radius in rows and columns.
    """
    if torch.compiler.is_compiling() or is_traced(x):  # first: reading a size would add a guard to the program
        return compute(x)
    batch, in_channels, height, width = x.shape
    bytes_per_pixel = max(channels, in_channels) * (2 if torch.is_autocast_enabled("cpu") else x.element_size())
    if batch * height * width * bytes_per_pixel <= _THRESHOLD or not _should_chunk(modules, x):
        return compute(x)
    pixels = max(1, _CHUNK_BYTES // bytes_per_pixel)
    images = next(count for count in range(max(1, pixels // (height * width)), 0, -1) if batch % count == 0)
    rows, columns = _chunk_shape(height, width, pixels, radius)
    out: Tensor | None = None
    axes = _split_axis(batch, images, 0), _split_axis(height, rows, radius[0]), _split_axis(width, columns, radius[1])
    for parts in product(*axes):
        read, keep, write = ((image, slice(None), *sides) for image, *sides in zip(*parts, strict=True))
        result = compute(_extract_chunk(x, read))
        if out is None:
            out = _empty_like(result, batch, height, width)
        out[write] = result[keep]
    return out


def has_hooks(*modules: nn.Module) -> bool:
    """Return whether a hook is registered for the modules, their submodules or all modules."""
    return bool(_has_any_global_hook()) or any(_has_hooks(module) for module in modules)


def _has_hooks(module: nn.Module) -> bool:
    return (
        bool(module._forward_hooks)
        or bool(module._forward_pre_hooks)
        or bool(module._backward_hooks)
        or bool(module._backward_pre_hooks)
        or any(_has_hooks(child) for child in module._modules.values() if child is not None)
    )


def simulated_device_type(x: Tensor) -> str:
    """Return the device type of a tensor; for a meta tensor, that of [`treat_meta_as`][lamnet_layers.chunking]."""
    return _meta_device_type.get() if x.is_meta else x.device.type


def _should_chunk(modules: tuple[nn.Module, ...], x: Tensor) -> bool:
    if simulated_device_type(x) != "cpu" or torch.is_grad_enabled() or torch.jit.is_tracing():
        return False
    return not has_hooks(*modules)  # hooks must see the whole map


def _chunk_shape(height: int, width: int, pixels: int, radius: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of a chunk of about ``pixels`` pixels.

    Bands along the axis of a one-dimensional layer, or if the halo is small relative to the band; else squares.
    """
    if radius[1] == 0 < radius[0]:
        return height, max(_MIN_SIDE, pixels // height)
    rows = max(1, pixels // width)
    if rows >= _MIN_SIDE * radius[0]:
        return rows, width
    side = max(_MIN_SIDE, isqrt(pixels))
    return side, side


def _split_axis(size: int, length: int, radius: int) -> list[tuple[slice, slice, slice]]:
    """Split an axis into overlapping parts of equal size: slices (read, keep, write).

    ::

        read   [first, first + n)               part of the input, halo included; n is equal for all parts
        keep   [start − first, stop − first)    part of the result without the halo
        write  [start, stop)                    its position in the output; these partition [0, size)
    """
    count = ceil(size / length)
    read = ceil((size + 2 * radius * (count - 1)) / count)
    firsts = [(size - read) * index // max(1, count - 1) for index in range(count)]
    edges = [0, *(first + radius for first in firsts[1:]), size]
    return [
        (slice(first, first + read), slice(start - first, stop - first), slice(start, stop))
        for first, (start, stop) in zip(firsts, pairwise(edges), strict=True)
    ]


def _extract_chunk(x: Tensor, index: tuple[slice, ...]) -> Tensor:
    chunk = x[index]
    if chunk.stride(1) != 1:
        return chunk
    # Copy to canonical strides: compiled layers are specialized on strides, including that of a batch of one.
    pixels = chunk.permute(0, 2, 3, 1)
    return pixels.contiguous().flatten().view(pixels.shape).permute(0, 3, 1, 2)


def _empty_like(chunk: Tensor, batch: int, height: int, width: int) -> Tensor:
    """Return an empty full-size map with the layout and vmap level of ``chunk``."""
    if chunk.stride(1) == 1:
        return chunk.new_empty(batch, height, width, chunk.shape[1]).permute(0, 3, 1, 2)
    return chunk.new_empty(batch, chunk.shape[1], height, width)
