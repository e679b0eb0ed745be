"""Fill in colors under transparent pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def fill_transparent(color: Tensor, alpha: Tensor) -> Tensor:
    """Replace the colors of fully transparent pixels by those of the visible pixels around them.

    Editors store black or arbitrary colors under transparent pixels, which a network spreads across the edge as dark
    fringes. Premultiplied alpha avoids this, but the network then sees an image that fades to black, and the division
    by alpha amplifies its errors where alpha is small. After filling, colors are similar across the edge. Pixels with
    alpha > 0 are unchanged.

    The fill is an alpha-weighted average over squares: each pixel takes the smallest square that contains a visible
    pixel (pull-push: Gortler et al., "The Lumigraph", 1996).

    Args:
        color: (B, C, H, W).
        alpha: (B, 1, H, W) in [0, 1].

    Returns:
        The filled colors, (B, C, H, W); images without a visible pixel are unchanged.
    """
    hidden = (alpha == 0) & (alpha > 0).any(dim=(-2, -1), keepdim=True)
    return torch.where(hidden, _pull_push(color * alpha, alpha), color) if hidden.any() else color


def _pull_push(weighted: Tensor, weight: Tensor) -> Tensor:
    height, width = weight.shape[-2:]
    if height == width == 1:
        return weighted / weight.clamp_min(torch.finfo(weight.dtype).tiny)
    # Pull: average 2×2 squares. The weight of a square is the sum of its weights, at most 1: one opaque pixel fills it.
    pooled = F.avg_pool2d(weight, 2, ceil_mode=True)
    gain = (4 * pooled).clamp(max=1) / pooled.clamp_min(torch.finfo(weight.dtype).tiny)
    coarse = _pull_push(F.avg_pool2d(weighted, 2, ceil_mode=True) * gain, pooled * gain)
    # Push: interpolate the coarse level into the pixels whose weight is below 1.
    coarse = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]
    return weighted + (1 - weight) * coarse
