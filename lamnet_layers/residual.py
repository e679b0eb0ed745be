"""Residual connections with a learnable scale per channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._checks import check_feature_map, check_int
from ._tiles import apply_tiled
from .norm import ChannelLayerNorm


class ScaledResidual(nn.Module):
    """Scaled residual, ``shortcut + α·branch``, with one α per channel, initialized to 1.

    The original implementation has it, the paper does not.

    Args:
        dim: Number of channels C.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        shortcut and branch, each (B, C, H, W) → (B, C, H, W).

    Raises:
        ValueError: If ``dim`` is below 1 or an input has the wrong shape.
    """

    def __init__(self, dim: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.dim = check_int("dim", dim, minimum=1)
        self.alpha = nn.Parameter(torch.ones(dim, 1, 1, device=device, dtype=dtype))

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        """Return ``shortcut + α·branch``, (B, C, H, W)."""
        check_feature_map("shortcut", shortcut, self.dim)
        if branch.shape != shortcut.shape:
            raise ValueError(
                f"branch must have the shape of shortcut, {tuple(shortcut.shape)}, got {tuple(branch.shape)}"
            )
        return torch.addcmul(shortcut, self.alpha, branch)


class PreNormResidual(nn.Module):
    """Pre-norm residual sub-block, ``x + α·layer(LN(x))``.

    Args:
        dim: Number of channels C.
        layer: Module (B, C, H, W) → (B, C, H, W). A local layer may have the attributes ``receptive_radius`` (rows and
            columns on each side that a pixel depends on) and ``peak_channels`` (channels of its widest map), with which
            it can be tiled.
        device: Device of the norm's parameters and of α.
        dtype: Dtype of those parameters.

    Shape:
        (B, C, H, W) → (B, C, H, W).

    Raises:
        ValueError: If ``dim`` is below 1, or the input or the layer's output has the wrong shape.
    """

    def __init__(
        self,
        dim: int,
        layer: nn.Module,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.norm = ChannelLayerNorm(dim, device=device, dtype=dtype)
        self.layer = layer
        self.residual = ScaledResidual(dim, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x + α·layer(LN(x))``, (B, C, H, W)."""
        return self.residual(x, self.layer(self.norm(x)))

    def forward_tiled(self, x: Tensor) -> Tensor:
        """Return ``forward(x)``, tile by tile for large maps on a CPU if the layer can be tiled."""
        if not hasattr(self.layer, "receptive_radius"):
            return self(x)
        return apply_tiled(self, self, x, self.layer.peak_channels, self.layer.receptive_radius)
