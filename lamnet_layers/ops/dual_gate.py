"""Dual gate of DGFN: naive reference and eager implementation in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def naive(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``concat(u·x1, u·x2)``, ``x1, x2 = DWConv3×3(x)``, ``u = GELU(x1)``, by definition."""
    x1, x2 = F.conv2d(x, weight, bias, padding=1, groups=x.shape[1]).chunk(2, dim=1)
    gate = F.gelu(x1)
    return torch.cat((gate * x1, gate * x2), dim=1)


def eager(x: Tensor, depthwise: Callable[[Tensor], Tensor]) -> Tensor:
    """Both gated halves as one product, in channels-last memory format."""
    halves = depthwise(x).unflatten(1, (2, -1))
    halves = halves.permute(0, 3, 4, 1, 2)  # Inductor writes its output in the order of these axes
    return (halves * F.gelu(halves[..., :1, :])).flatten(3).permute(0, 3, 1, 2)
