"""The kernels that take in what stands beside the aggregation, as operators of PyTorch. For inference: no gradients."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ..window import FocalWindow


@torch.library.custom_op("lamnet::focal_pass", mutates_args=())
def focal_pass(
    x: Tensor, hidden: Tensor, matrix: Tensor, bias: Tensor, strides: list[int], steps: list[int], heads: int, dim: int
) -> Tensor:
    """Returns the features aggregated with the weights ``tanh(matrix·hidden + bias)``, (B, D, H, W).

    Args:
        x: Features, (B, D, H, W).
        hidden: What the weights are predicted from, (B, D, H, W).
        matrix: Of the 1×1 convolution that predicts them, (heads·K, D).
        bias: Its bias, (heads·K,).
        strides: The window's.
        steps: The window's.
        heads: Number of groups of channels that share weights.
        dim: 3 for the width, 2 for the height.
    """
    from .triton import focal_pass as kernel

    return kernel.forward(x, hidden, matrix, bias, FocalWindow(strides, steps), heads, dim)


@focal_pass.register_fake
def _(x: Tensor, hidden: Tensor, matrix, bias, strides, steps, heads, dim) -> Tensor:
    return torch.empty_like(x, dtype=torch.promote_types(x.dtype, hidden.dtype))


@torch.library.custom_op("lamnet::dual_gate", mutates_args=())
def dual_gate(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns ``concat(u·x1, u·x2)``, u = GELU(x1), of the halves of a depthwise 3×3 convolution, (B, 2h, H, W).

    Args:
        x: Features, (B, 2h, H, W).
        weight: The convolution's, (2h, 1, 3, 3).
        bias: Its bias, (2h,).
    """
    from .triton import dual_gate as kernel

    return kernel.forward(x, weight.contiguous(), bias)


@dual_gate.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.empty_like(x)


@register_flop_formula(torch.ops.lamnet.focal_pass)
def _(x_shape, hidden_shape, matrix_shape, bias_shape, strides, steps, heads, dim, *_, **__) -> int:
    batch, channels, height, width = x_shape
    return 2 * batch * height * width * channels * (matrix_shape[0] + FocalWindow(strides, steps).taps)


@register_flop_formula(torch.ops.lamnet.dual_gate)
def _(x_shape, *_, **__) -> int:
    batch, channels, height, width = x_shape
    return 2 * 9 * batch * channels * height * width
