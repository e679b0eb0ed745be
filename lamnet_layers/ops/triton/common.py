"""Common part of the Triton kernels: tiles of pixels, cell means, launch configuration."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...window import FocalWindow

# Height and width of a tile, by axis. Along the width, neighbors lie in the same cache lines; along the height, each
# tile also reads the rows above and below it.
_TILES = {3: (4, 64), 2: (16, 16)}
NUM_WARPS = 8  # a pixel per thread: with two, registers spill (tests/benchmarks/kernel_resources.py)
_MAX_CHANNELS = 8  # of a head, per program; more would spill registers


@triton.jit
def program_tile(height, width, TILE_H: tl.constexpr, TILE_W: tl.constexpr, CHUNKS: tl.constexpr, HEADS: tl.constexpr):
    """Return the rows, columns, channel block, head and image of this program."""
    program_id = tl.program_id(0)
    tiles_x = tl.cdiv(width, TILE_W)
    tiles_y = tl.cdiv(height, TILE_H)
    left = program_id % tiles_x
    top = (program_id // tiles_x) % tiles_y
    chunk = (program_id // (tiles_x * tiles_y)) % CHUNKS
    head = (program_id // (tiles_x * tiles_y * CHUNKS)) % HEADS
    image = program_id // (tiles_x * tiles_y * CHUNKS * HEADS)
    pixel = tl.arange(0, TILE_H * TILE_W)
    return top * TILE_H + pixel // TILE_W, left * TILE_W + pixel % TILE_W, chunk, head, image.to(tl.int64)


@triton.jit
def shift_pixels(row, column, shift: tl.constexpr, HORIZONTAL: tl.constexpr, height, width):
    """Return pixel coordinates shifted along the axis, and a mask of those inside the image."""
    inside = (row < height) & (column < width)
    if HORIZONTAL:
        column += shift
        inside = inside & (column >= 0) & (column < width)
    else:
        row += shift
        inside = inside & (row >= 0) & (row < height)
    return row, column, inside


@triton.jit
def cell_mean(
    x, channel, row, column, strides, cell: tl.constexpr, limits, HORIZONTAL: tl.constexpr, TYPE: tl.constexpr
):
    """Return the mean of one cell around each pixel, (channels, pixels)."""
    channels, height, width = limits
    total = tl.zeros((channel.shape[0], row.shape[0]), TYPE)
    for step in tl.static_range(cell[1]):
        r, c, inside = shift_pixels(row, column, cell[0] + step, HORIZONTAL, height, width)
        offsets = channel[:, None] * strides[0] + (r * strides[1] + c * strides[2])[None, :]
        total += tl.load(x + offsets, mask=(channel < channels)[:, None] & inside[None, :], other=0).to(TYPE)
    return total * (1.0 / cell[1])


def launch_config(
    shape, window: FocalWindow, num_heads: int, dim: int, chunked: bool = True
) -> tuple[int, dict[str, object]]:
    """Return the number of programs and the kernel's compile-time constants.

    Args:
        shape: Shape of the features, (B, D, H, W).
        window: Focal window.
        num_heads: Number of heads.
        dim: 3 for the width, 2 for the height.
        chunked: Whether the channels of a head are split into blocks, one program each.
    """
    batch, channels, height, width = shape
    per_head = channels // num_heads
    block = min(_MAX_CHANNELS, triton.next_power_of_2(per_head))
    tile_h, tile_w = _TILES[dim]
    tiles = triton.cdiv(height, tile_h) * triton.cdiv(width, tile_w)
    chunks = triton.cdiv(per_head, block) if chunked else 1
    constants = {
        "HEADS": num_heads,
        "CHANNELS": per_head,
        "CELLS": window.spans,
        "HORIZONTAL": dim == 3,
        "BLOCK": block,
    }
    return tiles * chunks * num_heads * batch, constants | {"TILE_H": tile_h, "TILE_W": tile_w}


def index_dtype(*tensors: Tensor) -> tl.dtype:
    """Return the dtype of offsets within an image. Offsets between images are always 64-bit."""
    return tl.int64 if max(map(_extent, tensors)) >= 2**31 else tl.int32


def accumulator_dtype(*tensors: Tensor) -> tl.dtype:
    """Return the accumulation dtype: float64 if any tensor is float64, else float32."""
    return tl.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else tl.float32


def _extent(tensor: Tensor) -> int:
    return sum((size - 1) * stride for size, stride in zip(tensor.shape[1:], tensor.stride()[1:], strict=True))
