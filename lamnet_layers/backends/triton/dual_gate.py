"""The middle of a DGFN in one kernel: depthwise 3×3, GELU, both gates; what lies between is never in memory."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .aggregate import _tile, accumulator, index_type

_TILE = (4, 16)  # height and width: a kernel of 3×3 reads few rows beside those of a program
_MAX_CHANNELS = 32


@triton.jit
def _convolved(x, weight, bias, channel, row, column, strides, limits, TYPE: tl.constexpr):
    """Returns the depthwise 3×3 convolution of some channels at some pixels, (pixels, channels)."""
    channels, height, width = limits
    known = channel < channels
    total = tl.zeros((row.shape[0], channel.shape[0]), TYPE)
    total += tl.load(bias + channel, mask=known, other=0).to(TYPE)[None, :]
    for down in tl.static_range(3):
        for right in tl.static_range(3):
            r, c = row + (down - 1), column + (right - 1)
            inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
            offsets = (r * strides[2] + c * strides[3])[:, None] + channel[None, :] * strides[1]
            values = tl.load(x + offsets, mask=inside[:, None] & known[None, :], other=0)
            factors = tl.load(weight + channel * 9 + 3 * down + right, mask=known, other=0)
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
    row, column, chunk, _, image = _tile(height, width, TILE_H, TILE_W, tl.cdiv(HIDDEN, BLOCK), 1)
    row, column = row.to(INDEX), column.to(INDEX)
    channel = (chunk * BLOCK + tl.arange(0, BLOCK)).to(INDEX)
    x += image * x_strides[0]
    out += image * out_strides[0]
    limits = (HIDDEN, height, width)
    own = _convolved(x, weight, bias, channel, row, column, x_strides, limits, TYPE)
    second = tl.full([], HIDDEN, tl.int64)
    x += second * x_strides[1]
    other = _convolved(x, weight + HIDDEN * 9, bias + HIDDEN, channel, row, column, x_strides, limits, TYPE)
    gate = 0.5 * own * (1 + tl.erf(own * 0.7071067811865476))
    offsets = (row * out_strides[2] + column * out_strides[3])[:, None] + channel[None, :] * out_strides[1]
    mask = ((row < height) & (column < width))[:, None] & (channel < HIDDEN)[None, :]
    tl.store(out + offsets, gate * own, mask=mask)
    tl.store(out + second * out_strides[1] + offsets, gate * other, mask=mask)


def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns ``concat(u·x1, u·x2)``, u = GELU(x1), of the convolved halves x1 and x2, laid out as ``x``.

    Args:
        x: Features, (B, 2h, H, W).
        weight: The depthwise convolution's, (2h, 1, 3, 3), contiguous.
        bias: Its bias, (2h,), contiguous.
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
            weight,
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
            INDEX=index_type(x, out),
            TYPE=accumulator(x),
        )
    return out
