"""Residual connections with a learnable gain for each channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._checks import check_feature_map, check_int
from ._tiles import in_tiles
from .norm import ChannelLayerNorm


class ScaledResidual(nn.Module):
    """Adds a branch to its shortcut, each channel of the branch scaled: ``shortcut + α·branch``, α starting at 1.

    In the released network and not in the paper.

    Args:
        channels: Number of channels C.
        device: Device of the parameters.
        dtype: Type of the parameters.

    Shape:
        shortcut and branch, each (B, C, H, W) → (B, C, H, W).

    Raises:
        ValueError: If ``channels`` is below 1, or an input has another shape.
    """

    def __init__(
        self, channels: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.channels = check_int("channels", channels, minimum=1)
        self.alpha = nn.Parameter(torch.ones(channels, 1, 1, device=device, dtype=dtype))

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        """Returns ``shortcut + α·branch``, (B, C, H, W)."""
        check_feature_map("shortcut", shortcut, self.channels)
        if branch.shape != shortcut.shape:
            raise ValueError(
                f"branch has shape {tuple(branch.shape)}, but it must have that of shortcut, {tuple(shortcut.shape)}"
            )
        return torch.addcmul(shortcut, self.alpha, branch)


class PreNormResidual(nn.Module):
    """Wraps a layer as ``x + α·layer(LN(x))``, the sub-block that LAMNet is made of.

    Args:
        channels: Number of channels C.
        layer: Any module (B, C, H, W) → (B, C, H, W). If each pixel of its result depends on few around it, it may say
            on how many rows and columns to each side, ``reach``, and how many channels its widest map has, ``widest``.
        device: Device of the parameters of the norm and of α.
        dtype: Type of those parameters.

    Shape:
        (B, C, H, W) → (B, C, H, W).

    Raises:
        ValueError: If ``channels`` is below 1, or the input, or what the layer makes of it, has another shape.
    """

    def __init__(
        self,
        channels: int,
        layer: nn.Module,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.norm = ChannelLayerNorm(channels, device=device, dtype=dtype)
        self.layer = layer
        self.residual = ScaledResidual(channels, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``x + α·layer(LN(x))``, (B, C, H, W)."""
        return self.residual(x, self.layer(self.norm(x)))

    def tiled(self, x: Tensor) -> Tensor:
        """Returns the same as a call; on a CPU tile by tile if the map is large and the layer has a ``reach``."""
        if not hasattr(self.layer, "reach"):
            return self(x)
        return in_tiles(self, self, x, self.layer.widest, self.layer.reach)
