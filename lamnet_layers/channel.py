"""CSM, the channel branch of the token mixer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._checks import check_divides, check_feature_map
from .factory import register_layer
from .pointwise import PointwiseConv


@register_layer("csm")
class CSM(nn.Module):
    """Channel Selective Mixer: a pointwise bottleneck, ``Conv1×1 C→C/2, ReLU, Conv1×1 C/2→C``.

    Source: paper, section 3.3.

    Args:
        dim: Number of channels C; even.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        (B, C, H, W) → (B, C, H, W).

    Raises:
        ValueError: If ``dim`` is odd or below 2, or the input has the wrong shape.
    """

    def __init__(self, dim: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.dim = check_divides("dim", dim, "the bottleneck reduction", 2)
        self.reduce = PointwiseConv(dim, dim // 2, device=device, dtype=dtype)
        self.expand = PointwiseConv(dim // 2, dim, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed channels, (B, C, H, W)."""
        check_feature_map("x", x, self.dim)
        return self.expand(torch.relu(self.reduce(x)))
