"""Triton kernel that fuses the depthwise 3×3 convolution, GELU and both gates of DGFN, as a custom operator.

Inference only.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from .common import accumulator_dtype, index_dtype, program_tile

_TILE = (4, 16)  # height and width; the 3×3 halo adds few rows
_MAX_CHANNELS = 32


@triton.jit
def _depthwise_conv(x, weight, bias, channel, row, column, strides, limits, TYPE: tl.constexpr):
    """Return the depthwise 3×3 convolution at the given pixels and channels, (pixels, channels)."""
    channels, height, width = limits
    valid = channel < channels
    total = tl.zeros((row.shape[0], channel.shape[0]), TYPE)
    total += tl.load(bias + channel, mask=valid, other=0).to(TYPE)[None, :]
    for dy in tl.static_range(3):
        for dx in tl.static_range(3):
            r, c = row + (dy - 1), column + (dx - 1)
            inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
            offsets = (r * strides[2] + c * strides[3])[:, None] + channel[None, :] * strides[1]
            values = tl.load(x + offsets, mask=inside[:, None] & valid[None, :], other=0)
            factors = tl.load(weight + channel * 9 + 3 * dy + dx, mask=valid, other=0)
            total += values.to(TYPE) * factors.to(TYPE)[None, :]
    return total


@triton.jit
def _dual_gate_kernel(
    x,
    weight,
    bias,
    out,
    height,
    width,
    x_strides,
    out_strides,
    HIDDEN: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
    BLOCK: tl.constexpr,
    INDEX: tl.constexpr,
    TYPE: tl.constexpr,
):
    row, column, chunk, _, image = program_tile(height, width, TILE_H, TILE_W, tl.cdiv(HIDDEN, BLOCK), 1)
    row, column = row.to(INDEX), column.to(INDEX)
    channel = (chunk * BLOCK + tl.arange(0, BLOCK)).to(INDEX)
    x += image * x_strides[0]
    out += image * out_strides[0]
    limits = (HIDDEN, height, width)
    x1 = _depthwise_conv(x, weight, bias, channel, row, column, x_strides, limits, TYPE)
    half_offset = tl.full([], HIDDEN, tl.int64)
    x += half_offset * x_strides[1]
    x2 = _depthwise_conv(x, weight + HIDDEN * 9, bias + HIDDEN, channel, row, column, x_strides, limits, TYPE)
    gate = 0.5 * x1 * (1 + tl.erf(x1 * 0.7071067811865476))
    offsets = (row * out_strides[2] + column * out_strides[3])[:, None] + channel[None, :] * out_strides[1]
    mask = ((row < height) & (column < width))[:, None] & (channel < HIDDEN)[None, :]
    tl.store(out + offsets, gate * x1, mask=mask)
    tl.store(out + half_offset * out_strides[1] + offsets, gate * x2, mask=mask)


@torch.library.custom_op("lamnet::dual_gate", mutates_args=())
def dual_gate(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return ``concat(u·x1, u·x2)``, ``x1, x2 = DWConv3×3(x)``, ``u = GELU(x1)``, (B, 2h, H, W).

    Args:
        x: Features, (B, 2h, H, W).
        weight: Weight of the convolution, (2h, 1, 3, 3).
        bias: Bias of the convolution, (2h,).
    """
    out = torch.empty_like(x)
    if x.numel() == 0:
        return out
    batch, channels, height, width = x.shape
    hidden = channels // 2
    block = min(_MAX_CHANNELS, triton.next_power_of_2(hidden))
    tile_h, tile_w = _TILE
    tiles = triton.cdiv(height, tile_h) * triton.cdiv(width, tile_w)
    with torch.cuda.device_of(x):
        _dual_gate_kernel[(tiles * triton.cdiv(hidden, block) * batch,)](
            x,
            weight.contiguous(),
            bias,
            out,
            height,
            width,
            x.stride(),
            out.stride(),
            HIDDEN=hidden,
            TILE_H=tile_h,
            TILE_W=tile_w,
            BLOCK=block,
            INDEX=index_dtype(x, out),
            TYPE=accumulator_dtype(x),
        )
    return out


@dual_gate.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.empty_like(x)


@register_flop_formula(torch.ops.lamnet.dual_gate)
def _(x_shape, *_, **__) -> int:
    batch, channels, height, width = x_shape
    return 2 * 9 * batch * channels * height * width
