"""Triton kernel that fuses the weight projection, tanh and aggregation of a focal pass, as a custom operator.

The map of weights (num_heads·K channels, the largest of the layer) is never written to memory. Inference only.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ...window import FocalWindow
from .common import NUM_WARPS, accumulator_dtype, cell_mean, index_dtype, launch_config, program_tile

_MAX_INPUTS = 32  # input channels of the projection held in registers at a time


@triton.jit
def _focal_pass_kernel(
    x,
    hidden,
    matrix,
    bias,
    out,
    height,
    width,
    x_strides,
    hidden_strides,
    matrix_strides,
    out_strides,
    HEADS: tl.constexpr,
    CHANNELS: tl.constexpr,
    CELLS: tl.constexpr,
    HORIZONTAL: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
    BLOCK: tl.constexpr,
    INPUTS: tl.constexpr,
    INDEX: tl.constexpr,
    TYPE: tl.constexpr,
):
    row, column, chunk, head, image = program_tile(height, width, TILE_H, TILE_W, tl.cdiv(CHANNELS, BLOCK), HEADS)
    row, column = row.to(INDEX), column.to(INDEX)
    channel = (chunk * BLOCK + tl.arange(0, BLOCK)).to(INDEX)
    inside = (row < height) & (column < width)
    x += image * x_strides[0] + (head * CHANNELS).to(tl.int64) * x_strides[1]
    hidden += image * hidden_strides[0]
    matrix += head * len(CELLS) * matrix_strides[0]
    total = tl.zeros((BLOCK, TILE_H * TILE_W), TYPE)
    for tap in tl.static_range(len(CELLS)):
        weight = tl.zeros((TILE_H * TILE_W,), TYPE) + tl.load(bias + head * len(CELLS) + tap).to(TYPE)
        for first in tl.static_range(0, HEADS * CHANNELS, INPUTS):
            feature = (first + tl.arange(0, INPUTS)).to(INDEX)
            valid = feature < HEADS * CHANNELS
            coefficients = tl.load(matrix + tap * matrix_strides[0] + feature * matrix_strides[1], mask=valid, other=0)
            pixel_offsets = row * hidden_strides[2] + column * hidden_strides[3]
            offsets = feature[:, None] * hidden_strides[1] + pixel_offsets[None, :]
            values = tl.load(hidden + offsets, mask=valid[:, None] & inside[None, :], other=0)
            weight += tl.sum(coefficients.to(TYPE)[:, None] * values.to(TYPE), 0)
        weight = 2 * tl.sigmoid(2 * weight) - 1  # tanh
        limits = (CHANNELS, height, width)
        steps = (x_strides[1], x_strides[2], x_strides[3])
        total += weight[None, :] * cell_mean(x, channel, row, column, steps, CELLS[tap], limits, HORIZONTAL, TYPE)
    out += image * out_strides[0] + (head * CHANNELS).to(tl.int64) * out_strides[1]
    offsets = channel[:, None] * out_strides[1] + (row * out_strides[2] + column * out_strides[3])[None, :]
    tl.store(out + offsets, total, mask=(channel < CHANNELS)[:, None] & inside[None, :])


@torch.library.custom_op("lamnet::focal_pass", mutates_args=())
def focal_pass(
    x: Tensor,
    hidden: Tensor,
    matrix: Tensor,
    bias: Tensor,
    strides: list[int],
    steps: list[int],
    num_heads: int,
    dim: int,
) -> Tensor:
    """Return ``x`` aggregated with the weights ``tanh(matrix·hidden + bias)``, (B, D, H, W).

    Args:
        x: Features, (B, D, H, W).
        hidden: Input of the weight projection, (B, D, H, W).
        matrix: Weight of the projection, (num_heads·K, D).
        bias: Bias of the projection, (num_heads·K,).
        strides: Strides of the window.
        steps: Steps of the window.
        num_heads: Number of heads.
        dim: 3 for the width, 2 for the height.
    """
    out = torch.empty_like(x, dtype=torch.promote_types(x.dtype, hidden.dtype))
    if out.numel() == 0:
        return out
    programs, constants = launch_config(x.shape, FocalWindow(strides, steps), num_heads, dim)
    with torch.cuda.device_of(x):
        _focal_pass_kernel[(programs,)](
            x,
            hidden,
            matrix,
            bias,
            out,
            *x.shape[2:],
            *(tensor.stride() for tensor in (x, hidden, matrix, out)),
            **constants,
            INPUTS=min(_MAX_INPUTS, triton.next_power_of_2(x.shape[1])),
            INDEX=index_dtype(x, hidden, out),
            TYPE=accumulator_dtype(x, hidden),
            num_warps=NUM_WARPS,
        )
    return out


@focal_pass.register_fake
def _(x: Tensor, hidden: Tensor, matrix, bias, strides, steps, num_heads, dim) -> Tensor:
    return torch.empty_like(x, dtype=torch.promote_types(x.dtype, hidden.dtype))


@register_flop_formula(torch.ops.lamnet.focal_pass)
def _(x_shape, hidden_shape, matrix_shape, bias_shape, strides, steps, num_heads, dim, *_, **__) -> int:
    batch, channels, height, width = x_shape
    return 2 * batch * height * width * channels * (matrix_shape[0] + FocalWindow(strides, steps).taps)
