"""Layer normalization over the channels of a feature map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._checks import check_feature_map, check_int


class ChannelLayerNorm(nn.Module):
    """Layer norm over the channels of each pixel, with biased variance and affine parameters.

    Args:
        dim: Number of channels C.
        eps: Added to the variance.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        (B, C, H, W) → (B, C, H, W), in channels-last memory format.

    Raises:
        ValueError: If ``dim`` is below 1 or the input has the wrong shape.
    """

    def __init__(
        self,
        dim: int,
        eps: float = 1e-5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.dim = check_int("dim", dim, minimum=1)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(dim, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized features, (B, C, H, W)."""
        check_feature_map("x", x, self.dim)
        normalized = F.layer_norm(x.permute(0, 2, 3, 1), (self.dim,), self.weight, self.bias, self.eps)
        return normalized.permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        """Return channels and eps."""
        return f"{self.dim}, eps={self.eps}"
