"""Baseline kernels of the aggregation: one thread per output value, atomics in backward.

Each lane computes one value, reads its inputs from global memory and adds its contributions to the gradients with
atomics, so the summation order is not fixed.
"""

import torch
import triton
import triton.language as tl

from lamnet_layers import FocalWindow

LANES = 256


@triton.jit
def _index(heads, channels, height, width, LANES: tl.constexpr):
    """Return the flat indices of this program's values, and their image, head, row and column."""
    number = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    column = number % width
    row = number // width % height
    channel = number // (width * height) % channels
    image = number // (width * height * channels)
    return number, image, channel * heads // channels, row, column


@triton.jit
def _forward_kernel(
    x,
    weights,
    out,
    size,
    channels,
    height,
    width,
    HEADS: tl.constexpr,
    CELLS: tl.constexpr,
    HORIZONTAL: tl.constexpr,
    LANES: tl.constexpr,
    TYPE: tl.constexpr,
):
    number, image, head, row, column = _index(HEADS, channels, height, width, LANES)
    total = tl.zeros((LANES,), TYPE)
    for tap in tl.static_range(len(CELLS)):
        plane = (image * HEADS + head) * len(CELLS) + tap
        weight = tl.load(weights + (plane * height + row) * width + column, mask=number < size, other=0).to(TYPE)
        for step in tl.static_range(CELLS[tap][1]):
            shift = CELLS[tap][0] + step
            position = (column if HORIZONTAL else row) + shift
            inside = (number < size) & (position >= 0) & (position < (width if HORIZONTAL else height))
            value = tl.load(x + number + (shift if HORIZONTAL else shift * width), mask=inside, other=0).to(TYPE)
            total += weight * value * (1.0 / CELLS[tap][1])
    tl.store(out + number, total, mask=number < size)


@triton.jit
def _backward_kernel(
    grad,
    x,
    weights,
    grad_x,
    grad_weights,
    size,
    channels,
    height,
    width,
    HEADS: tl.constexpr,
    CELLS: tl.constexpr,
    HORIZONTAL: tl.constexpr,
    LANES: tl.constexpr,
    TYPE: tl.constexpr,
):
    number, image, head, row, column = _index(HEADS, channels, height, width, LANES)
    grad_value = tl.load(grad + number, mask=number < size, other=0).to(TYPE)
    for tap in tl.static_range(len(CELLS)):
        plane = (image * HEADS + head) * len(CELLS) + tap
        at = (plane * height + row) * width + column
        weight = tl.load(weights + at, mask=number < size, other=0).to(TYPE)
        mean = tl.zeros((LANES,), TYPE)
        for step in tl.static_range(CELLS[tap][1]):
            shift = CELLS[tap][0] + step
            position = (column if HORIZONTAL else row) + shift
            inside = (number < size) & (position >= 0) & (position < (width if HORIZONTAL else height))
            source = number + (shift if HORIZONTAL else shift * width)
            mean += tl.load(x + source, mask=inside, other=0).to(TYPE) * (1.0 / CELLS[tap][1])
            tl.atomic_add(grad_x + source, grad_value * weight * (1.0 / CELLS[tap][1]), mask=inside)
        tl.atomic_add(grad_weights + at, grad_value * mean, mask=number < size)


def _arguments(x: torch.Tensor, window: FocalWindow, heads: int, dim: int) -> tuple[tuple, dict]:
    constants = {"HEADS": heads, "CELLS": window.spans, "HORIZONTAL": dim in (-1, 3), "LANES": LANES}
    constants["TYPE"] = tl.float64 if x.dtype == torch.float64 else tl.float32
    return (x.numel(), *x.shape[1:]), constants


def forward(x: torch.Tensor, weights: torch.Tensor, window: FocalWindow, heads: int, dim: int) -> torch.Tensor:
    """Return the aggregated features; all tensors must be contiguous."""
    out = torch.empty_like(x)
    sizes, constants = _arguments(x, window, heads, dim)
    _forward_kernel[(triton.cdiv(x.numel(), LANES),)](x, weights, out, *sizes, **constants)
    return out


def backward(
    grad: torch.Tensor, x: torch.Tensor, weights: torch.Tensor, window: FocalWindow, heads: int, dim: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients, accumulated in the dtype of the tensors, which must be contiguous."""
    grads = torch.zeros_like(x), torch.zeros_like(weights)
    sizes, constants = _arguments(x, window, heads, dim)
    _backward_kernel[(triton.cdiv(x.numel(), LANES),)](grad, x, weights, *grads, *sizes, **constants)
    return grads
