"""Triton kernels of the focal aggregation and its gradients, as custom operators.

Each kernel reads its inputs about once: a program computes a tile of pixels for a block of channels of one head, the
weights are read once per block, and pixels shared by neighbors come from the cache. Gradients are gathered instead of
scattered: each value is written by one program, so the summation order is fixed and the results are deterministic.

The operators have autograd, fake, vmap and FLOP formulas. Eager code is plain PyTorch instead of an operator, so that
compilers can fuse it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ...window import FocalWindow
from .common import NUM_WARPS, accumulator_dtype, cell_mean, index_dtype, launch_config, program_tile, shift_pixels


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
    row, column, chunk, head, image = program_tile(height, width, TILE_H, TILE_W, tl.cdiv(CHANNELS, BLOCK), HEADS)
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
        total += weight[None, :] * cell_mean(x, channel, row, column, steps, CELLS[tap], limits, HORIZONTAL, TYPE)
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
    row, column, chunk, head, image = program_tile(height, width, TILE_H, TILE_W, tl.cdiv(CHANNELS, BLOCK), HEADS)
    row, column = row.to(INDEX), column.to(INDEX)
    channel = (chunk * BLOCK + tl.arange(0, BLOCK)).to(INDEX)
    grad += image * grad_strides[0] + (head * CHANNELS).to(tl.int64) * grad_strides[1]
    weights += image * weight_strides[0] + (head * len(CELLS)).to(tl.int64) * weight_strides[1]
    total = tl.zeros((BLOCK, TILE_H * TILE_W), TYPE)
    for tap in tl.static_range(len(CELLS)):
        for step in tl.static_range(CELLS[tap][1]):
            # The output pixel for which this pixel is element ``step`` of cell ``tap``.
            r, c, inside = shift_pixels(row, column, -(CELLS[tap][0] + step), HORIZONTAL, height, width)
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
    row, column, _, head, image = program_tile(height, width, TILE_H, TILE_W, 1, HEADS)
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
            means = cell_mean(x, channel, row, column, steps, CELLS[tap], limits, HORIZONTAL, TYPE)
            total += tl.sum(values.to(TYPE) * means, 0)
        tl.store(grad_weights + tap * out_strides[1], total, mask=inside)


@torch.library.custom_op("lamnet::focal_aggregate", mutates_args=())
def focal_aggregate(
    x: Tensor, weights: Tensor, strides: list[int], steps: list[int], num_heads: int, dim: int
) -> Tensor:
    """Return the aggregated features; takes the validated public arguments."""
    return _forward(x, weights, FocalWindow(strides, steps), num_heads, dim)


@focal_aggregate.register_fake
def _(x: Tensor, weights: Tensor, strides: list[int], steps: list[int], num_heads: int, dim: int) -> Tensor:
    return torch.empty_like(x, dtype=torch.promote_types(x.dtype, weights.dtype))


@torch.library.custom_op("lamnet::focal_aggregate_backward", mutates_args=())
def focal_aggregate_backward(
    grad: Tensor,
    x: Tensor,
    weights: Tensor,
    strides: list[int],
    steps: list[int],
    num_heads: int,
    dim: int,
    needs_grad: list[bool],
) -> tuple[Tensor, Tensor]:
    """Return the gradients of features and weights; those not needed are empty."""
    window = FocalWindow(strides, steps)
    return (
        _grad_x(grad, weights, x, window, num_heads, dim) if needs_grad[0] else x.new_empty(0),
        _grad_weights(grad, x, weights, window, num_heads, dim) if needs_grad[1] else weights.new_empty(0),
    )


@focal_aggregate_backward.register_fake
def _(grad, x, weights, strides, steps, num_heads, dim, needs_grad) -> tuple[Tensor, Tensor]:
    return (
        torch.empty_like(x) if needs_grad[0] else x.new_empty(0),
        torch.empty_like(weights) if needs_grad[1] else weights.new_empty(0),
    )


def _save(ctx, inputs, output) -> None:
    x, weights, *ctx.rest = inputs
    ctx.save_for_backward(x, weights)


def _backward(ctx, grad: Tensor):
    x, weights = ctx.saved_tensors
    needs_grad = list(ctx.needs_input_grad[:2])
    grads = focal_aggregate_backward(grad, x, weights, *ctx.rest, needs_grad)
    return (*(value if needed else None for value, needed in zip(grads, needs_grad, strict=True)), *[None] * 4)


def _raise_no_second_derivative(ctx, *_: Tensor):
    raise RuntimeError("the Triton kernels have no second derivative; use backend='eager'")


focal_aggregate.register_autograd(_backward, setup_context=_save)
focal_aggregate_backward.register_autograd(_raise_no_second_derivative)


@focal_aggregate.register_vmap
def _(info, in_dims, x, weights, *rest):
    return _unfold(focal_aggregate(*_fold(info, in_dims, (x, weights)), *rest), info), 0


@focal_aggregate_backward.register_vmap
def _(info, in_dims, grad, x, weights, *rest):
    grads = focal_aggregate_backward(*_fold(info, in_dims, (grad, x, weights)), *rest)
    needs_grad = rest[-1]
    return tuple(
        _unfold(value, info) if needed else value.expand(info.batch_size, 0)
        for value, needed in zip(grads, needs_grad, strict=True)
    ), (0, 0)


def _fold(info, in_dims, tensors: tuple[Tensor, ...]) -> list[Tensor]:
    # Merges the vmapped dimension into the batch.
    moved = (
        tensor.expand(info.batch_size, *tensor.shape) if in_dim is None else tensor.movedim(in_dim, 0)
        for tensor, in_dim in zip(tensors, in_dims, strict=False)
    )
    return [tensor.flatten(0, 1) for tensor in moved]


def _unfold(tensor: Tensor, info) -> Tensor:
    return tensor.unflatten(0, (info.batch_size, -1))


@register_flop_formula(torch.ops.lamnet.focal_aggregate)
def _(x_shape, weights_shape, strides, steps, num_heads, dim, *_, **__) -> int:
    batch, channels, height, width = x_shape
    return 2 * batch * channels * height * width * FocalWindow(strides, steps).taps


@register_flop_formula(torch.ops.lamnet.focal_aggregate_backward)
def _(grad_shape, x_shape, weights_shape, strides, steps, num_heads, dim, needs_grad, *_, **__) -> int:
    batch, channels, height, width = x_shape
    return 2 * batch * channels * height * width * FocalWindow(strides, steps).taps * sum(needs_grad)


def _forward(x: Tensor, weights: Tensor, window: FocalWindow, num_heads: int, dim: int) -> Tensor:
    """Return the aggregated features, (B, D, H, W), in the memory layout of ``x``."""
    out = torch.empty_like(x, dtype=torch.promote_types(x.dtype, weights.dtype))
    _launch(_forward_kernel, x, weights, out, x.shape, window, num_heads, dim)
    return out


def _grad_x(grad: Tensor, weights: Tensor, like: Tensor, window: FocalWindow, num_heads: int, dim: int) -> Tensor:
    """Return the gradient of the features, (B, D, H, W), in dtype and layout of ``like``."""
    out = torch.empty_like(like)
    _launch(_grad_x_kernel, grad, weights, out, like.shape, window, num_heads, dim)
    return out


def _grad_weights(grad: Tensor, x: Tensor, like: Tensor, window: FocalWindow, num_heads: int, dim: int) -> Tensor:
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
            num_warps=NUM_WARPS,
        )
