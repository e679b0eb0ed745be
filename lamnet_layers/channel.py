"""CSM, the channel branch of the token mixer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._checks import check_divides, check_feature_map
from .pointwise import PointwiseConv


class CSM(nn.Module):
    """Channel Selective Mixer: a pointwise bottleneck, ``Conv1×1 C→C/2, ReLU, Conv1×1 C/2→C``.

    Source: paper, section 3.3.

    Args:
        channels: Number of channels C; even.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        (B, C, H, W) → (B, C, H, W).

    Raises:
        ValueError: If ``channels`` is odd or below 2, or the input has the wrong shape.
    """

    def __init__(
        self, channels: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.channels = check_divides("channels", channels, "the bottleneck reduction", 2)
        self.reduce = PointwiseConv(channels, channels // 2, device=device, dtype=dtype)
        self.expand = PointwiseConv(channels // 2, channels, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed channels, (B, C, H, W)."""
        check_feature_map("x", x, self.channels)
        return self.expand(torch.relu(self.reduce(x)))
