"""Self-ensemble over flips and rotations."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SelfEnsemble(nn.Module):
    """Average of a network's outputs over the eight flips and rotations of an image.

    Source: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution" (2017), section 3.4.

    Args:
        model: A network on (B, C, H, W) with attributes ``scale`` and ``in_chans``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.scale = model.scale
        self.in_chans = model.in_chans

    def forward(self, x: Tensor) -> Tensor:
        """Return the SR images, (B, C, r·H, r·W)."""
        views = []
        for turns in range(4):
            for mirrored in (False, True):
                view = torch.rot90(x.flip(-1) if mirrored else x, turns, (-2, -1))
                output = torch.rot90(self.model(view), -turns, (-2, -1))
                views.append(output.flip(-1) if mirrored else output)
        return torch.stack(views).mean(dim=0)
