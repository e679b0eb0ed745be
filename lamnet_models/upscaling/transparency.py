"""Colours under transparent pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def fill_transparent(colour: Tensor, alpha: Tensor) -> Tensor:
    """Gives fully transparent pixels the colours of the visible ones around them.

    Editors leave black, or anything, under transparent pixels. A network that sees it beside the picture carries it
    over the edge: dark fringes. Multiplying colours with alpha first and dividing after avoids that, but shows the
    network a picture that fades to black, and division brings out its errors where alpha is small. Filled in, the edge
    is one between like colours, and pixels that can be seen at all stay as they are.

    Filled with averages over squares, weighted with alpha: each pixel takes the smallest square that sees anything
    (the pull-push of Gortler and others, "The Lumigraph", 1996).

    Args:
        colour: (B, C, H, W).
        alpha: (B, 1, H, W) in [0, 1].

    Returns:
        The colours, (B, C, H, W); those of an image without any visible pixel stay as they are.
    """
    hidden = (alpha == 0) & (alpha > 0).any(dim=(-2, -1), keepdim=True)
    return torch.where(hidden, _pull_push(colour * alpha, alpha), colour) if hidden.any() else colour


def _pull_push(weighted: Tensor, weight: Tensor) -> Tensor:
    height, width = weight.shape[-2:]
    if height == width == 1:
        return weighted / weight.clamp_min(torch.finfo(weight.dtype).tiny)
    known = F.avg_pool2d(weight, 2, ceil_mode=True)
    # As soon as one pixel of a square is known, so is the square.
    gain = (4 * known).clamp(max=1) / known.clamp_min(torch.finfo(weight.dtype).tiny)
    coarse = _pull_push(F.avg_pool2d(weighted, 2, ceil_mode=True) * gain, known * gain)
    coarse = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]
    return weighted + (1 - weight) * coarse
