"""Focal pass: naive reference, and prediction of the aggregation weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor

from ..window import FocalWindow
from . import focal_aggregate


def naive(
    x: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor, window: FocalWindow, num_heads: int, dim: int
) -> Tensor:
    """Aggregation of x with the weights ``tanh(Conv1×1(hidden))``, by definition."""
    return focal_aggregate.naive(x, F.conv2d(hidden, weight, bias).tanh(), window, num_heads, dim)


def convolve(x: Tensor, depthwise: Callable[[Tensor], Tensor], dim: int) -> Tensor:
    """Apply the depthwise convolution of a pass along dimension 2 (height) or 3 (width)."""
    if dim == 3:  # channels last is many times faster for 1×P kernels
        x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    return depthwise(x)


def predict(hidden: Tensor, pointwise: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the weights ``tanh(pointwise(hidden))``."""
    return _tanh(pointwise(hidden))


@torch.fx.wrap  # one node in FX graphs
def _tanh(x: Tensor) -> Tensor:
    # tanh(x) = 2σ(2x) − 1, accurate to 2e-7. Inductor's CPU tanh takes twice as long, and half precision loses digits.
    if torch.compiler.is_compiling() and x.device.type == "cpu" and x.dtype != torch.float64:
        return x.to(torch.float32).mul_(2).sigmoid_().sub(0.5).mul_(2).to(x.dtype)
    # In-place tanh on a view makes autograd copy the gradient several times. Tracing needs one graph for both modes.
    return x.tanh() if x.requires_grad and not torch.jit.is_tracing() else x.tanh_()
