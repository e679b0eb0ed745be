"""Fused kernels as custom operators, inference only."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ..window import FocalWindow


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
    from .triton import focal_pass as kernel

    return kernel.forward(x, hidden, matrix, bias, FocalWindow(strides, steps), num_heads, dim)


@focal_pass.register_fake
def _(x: Tensor, hidden: Tensor, matrix, bias, strides, steps, num_heads, dim) -> Tensor:
    return torch.empty_like(x, dtype=torch.promote_types(x.dtype, hidden.dtype))


@torch.library.custom_op("lamnet::dual_gate", mutates_args=())
def dual_gate(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return ``concat(u·x1, u·x2)``, ``x1, x2 = DWConv3×3(x)``, ``u = GELU(x1)``, (B, 2h, H, W).

    Args:
        x: Features, (B, 2h, H, W).
        weight: Weight of the convolution, (2h, 1, 3, 3).
        bias: Bias of the convolution, (2h,).
    """
    from .triton import dual_gate as kernel

    return kernel.forward(x, weight.contiguous(), bias)


@dual_gate.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.empty_like(x)


@register_flop_formula(torch.ops.lamnet.focal_pass)
def _(x_shape, hidden_shape, matrix_shape, bias_shape, strides, steps, num_heads, dim, *_, **__) -> int:
    batch, channels, height, width = x_shape
    return 2 * batch * height * width * channels * (matrix_shape[0] + FocalWindow(strides, steps).taps)


@register_flop_formula(torch.ops.lamnet.dual_gate)
def _(x_shape, *_, **__) -> int:
    batch, channels, height, width = x_shape
    return 2 * 9 * batch * channels * height * width
