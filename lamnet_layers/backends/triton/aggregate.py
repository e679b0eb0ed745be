"""Triton kernels of the focal aggregation and its gradients.

Each kernel reads its inputs about once: a program computes a tile of pixels for a block of channels of one head, the
weights are read once per block, and pixels shared by neighbors come from the cache. Gradients are gathered instead of
scattered: each value is written by one program, so the summation order is fixed and the results are deterministic.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...window import FocalWindow

# Height and width of a tile, by axis. Along the width, neighbors lie in the same cache lines; along the height, each
# tile also reads the rows above and below it.
_TILES = {3: (4, 64), 2: (16, 16)}
_NUM_WARPS = 8  # a pixel per thread: with two, registers spill (tests/benchmarks/kernel_resources.py)
_MAX_CHANNELS = 8  # of a head, per program; more would spill registers


@triton.jit
def _program_tile(height, width, TILE_H: tl.constexpr, TILE_W: tl.constexpr, CHUNKS: tl.constexpr, HEADS: tl.constexpr):
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
def _shift(row, column, shift: tl.constexpr, HORIZONTAL: tl.constexpr, height, width):
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
def _cell_mean(
    x, channel, row, column, strides, cell: tl.constexpr, limits, HORIZONTAL: tl.constexpr, TYPE: tl.constexpr
):
    """Return the mean of one cell around each pixel, (channels, pixels)."""
    channels, height, width = limits
    total = tl.zeros((channel.shape[0], row.shape[0]), TYPE)
    for step in tl.static_range(cell[1]):
        r, c, inside = _shift(row, column, cell[0] + step, HORIZONTAL, height, width)
        offsets = channel[:, None] * strides[0] + (r * strides[1] + c * strides[2])[None, :]
        total += tl.load(x + offsets, mask=(channel < channels)[:, None] & inside[None, :], other=0).to(TYPE)
    return total * (1.0 / cell[1])


@triton.jit
def _forward_kernel(
    x,
    weights,
    out,
    height,
    width,
    x_strides,
    weight_strides,
    out_strides,
    HEADS: tl.constexpr,
    CHANNELS: tl.constexpr,
    CELLS: tl.constexpr,
    HORIZONTAL: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
    BLOCK: tl.constexpr,
    INDEX: tl.constexpr,
    TYPE: tl.constexpr,
):
    row, column, chunk, head, image = _program_tile(height, width, TILE_H, TILE_W, tl.cdiv(CHANNELS, BLOCK), HEADS)
    row, column = row.to(INDEX), column.to(INDEX)
    channel = (chunk * BLOCK + tl.arange(0, BLOCK)).to(INDEX)
    inside = (row < height) & (column < width)
    x += image * x_strides[0] + (head * CHANNELS).to(tl.int64) * x_strides[1]
    weights += image * weight_strides[0] + (head * len(CELLS)).to(tl.int64) * weight_strides[1]
    weights += row * weight_strides[2] + column * weight_strides[3]
    total = tl.zeros((BLOCK, TILE_H * TILE_W), TYPE)
    for tap in tl.static_range(len(CELLS)):
        weight = tl.load(weights + tap * weight_strides[1], mask=inside, other=0).to(TYPE)
        limits = (CHANNELS, height, width)
        steps = (x_strides[1], x_strides[2], x_strides[3])
        total += weight[None, :] * _cell_mean(x, channel, row, column, steps, CELLS[tap], limits, HORIZONTAL, TYPE)
    out += image * out_strides[0] + (head * CHANNELS).to(tl.int64) * out_strides[1]
    offsets = channel[:, None] * out_strides[1] + (row * out_strides[2] + column * out_strides[3])[None, :]
    tl.store(out + offsets, total, mask=(channel < CHANNELS)[:, None] & inside[None, :])


@triton.jit
def _grad_x_kernel(
    grad,
    weights,
    grad_x,
    height,
    width,
    grad_strides,
    weight_strides,
    out_strides,
    HEADS: tl.constexpr,
    CHANNELS: tl.constexpr,
    CELLS: tl.constexpr,
    HORIZONTAL: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
    BLOCK: tl.constexpr,
    INDEX: tl.constexpr,
    TYPE: tl.constexpr,
):
    row, column, chunk, head, image = _program_tile(height, width, TILE_H, TILE_W, tl.cdiv(CHANNELS, BLOCK), HEADS)
    row, column = row.to(INDEX), column.to(INDEX)
    channel = (chunk * BLOCK + tl.arange(0, BLOCK)).to(INDEX)
    grad += image * grad_strides[0] + (head * CHANNELS).to(tl.int64) * grad_strides[1]
    weights += image * weight_strides[0] + (head * len(CELLS)).to(tl.int64) * weight_strides[1]
    total = tl.zeros((BLOCK, TILE_H * TILE_W), TYPE)
    for tap in tl.static_range(len(CELLS)):
        for step in tl.static_range(CELLS[tap][1]):
            # The output pixel for which this pixel is element ``step`` of cell ``tap``.
            r, c, inside = _shift(row, column, -(CELLS[tap][0] + step), HORIZONTAL, height, width)
            weight_offset = tap * weight_strides[1] + r * weight_strides[2] + c * weight_strides[3]
            weight = tl.load(weights + weight_offset, mask=inside, other=0).to(TYPE) * (1.0 / CELLS[tap][1])
            offsets = channel[:, None] * grad_strides[1] + (r * grad_strides[2] + c * grad_strides[3])[None, :]
            values = tl.load(grad + offsets, mask=(channel < CHANNELS)[:, None] & inside[None, :], other=0)
            total += weight[None, :] * values.to(TYPE)
    grad_x += image * out_strides[0] + (head * CHANNELS).to(tl.int64) * out_strides[1]
    offsets = channel[:, None] * out_strides[1] + (row * out_strides[2] + column * out_strides[3])[None, :]
    inside = (row < height) & (column < width)
    tl.store(grad_x + offsets, total, mask=(channel < CHANNELS)[:, None] & inside[None, :])


@triton.jit
def _grad_weights_kernel(
    grad,
    x,
    grad_weights,
    height,
    width,
    grad_strides,
    x_strides,
    out_strides,
    HEADS: tl.constexpr,
    CHANNELS: tl.constexpr,
    CELLS: tl.constexpr,
    HORIZONTAL: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
    BLOCK: tl.constexpr,
    INDEX: tl.constexpr,
    TYPE: tl.constexpr,
):
    row, column, _, head, image = _program_tile(height, width, TILE_H, TILE_W, 1, HEADS)
    row, column = row.to(INDEX), column.to(INDEX)
    inside = (row < height) & (column < width)
    grad += image * grad_strides[0] + (head * CHANNELS).to(tl.int64) * grad_strides[1]
    x += image * x_strides[0] + (head * CHANNELS).to(tl.int64) * x_strides[1]
    grad_weights += image * out_strides[0] + (head * len(CELLS)).to(tl.int64) * out_strides[1]
    grad_weights += row * out_strides[2] + column * out_strides[3]
    for tap in tl.static_range(len(CELLS)):
        total = tl.zeros((TILE_H * TILE_W,), TYPE)
        for first in range(0, CHANNELS, BLOCK):
            channel = (first + tl.arange(0, BLOCK)).to(INDEX)
            offsets = channel[:, None] * grad_strides[1] + (row * grad_strides[2] + column * grad_strides[3])[None, :]
            values = tl.load(grad + offsets, mask=(channel < CHANNELS)[:, None] & inside[None, :], other=0)
            limits = (CHANNELS, height, width)
            steps = (x_strides[1], x_strides[2], x_strides[3])
            means = _cell_mean(x, channel, row, column, steps, CELLS[tap], limits, HORIZONTAL, TYPE)
            total += tl.sum(values.to(TYPE) * means, 0)
        tl.store(grad_weights + tap * out_strides[1], total, mask=inside)


def forward(x: Tensor, weights: Tensor, window: FocalWindow, num_heads: int, dim: int) -> Tensor:
    """Return the aggregated features, (B, D, H, W), in the memory layout of ``x``."""
    out = torch.empty_like(x, dtype=torch.promote_types(x.dtype, weights.dtype))
    _launch(_forward_kernel, x, weights, out, x.shape, window, num_heads, dim)
    return out


def grad_x(grad: Tensor, weights: Tensor, like: Tensor, window: FocalWindow, num_heads: int, dim: int) -> Tensor:
    """Return the gradient of the features, (B, D, H, W), in dtype and layout of ``like``."""
    out = torch.empty_like(like)
    _launch(_grad_x_kernel, grad, weights, out, like.shape, window, num_heads, dim)
    return out


def grad_weights(grad: Tensor, x: Tensor, like: Tensor, window: FocalWindow, num_heads: int, dim: int) -> Tensor:
    """Return the gradient of the weights, (B, num_heads·K, H, W), in dtype and layout of ``like``."""
    out = torch.empty_like(like)
    _launch(_grad_weights_kernel, grad, x, out, x.shape, window, num_heads, dim)
    return out


def _launch(kernel, first: Tensor, second: Tensor, out: Tensor, shape, window: FocalWindow, num_heads: int, dim: int):
    if 0 in shape:
        return
    programs, constants = launch_config(shape, window, num_heads, dim, chunked=kernel is not _grad_weights_kernel)
    tensors = (first, second, out)
    with torch.cuda.device_of(first):
        kernel[(programs,)](
            *tensors,
            *shape[2:],
            *(tensor.stride() for tensor in tensors),
            **constants,
            INDEX=index_dtype(*tensors),
            TYPE=accumulator_dtype(first, second),
            num_warps=_NUM_WARPS,
        )


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
