"""The kernels that focal separable attention predicts, as maps of pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lamnet_layers import FocalSeparableAttention


@torch.no_grad()
def dynamic_kernels(attention: FocalSeparableAttention, x: Tensor, row: int, column: int) -> tuple[Tensor, Tensor]:
    """Returns the kernels by which a pixel is made, over the P×P pixels around it.

    Args:
        attention: The layer.
        x: Its input, (1, D, H, W).
        row: The pixel's row.
        column: Its column.

    Returns:
        Two tensors (heads, P, P). First the outer product of the pixel's own vertical and horizontal weights, spread
        over their cells: what the paper shows. Then the exact kernel: the vertical pass reads pixels of other rows,
        which the horizontal pass has made with those rows' own weights. The layer's output at the pixel is the
        sum of its surroundings times the exact kernel. Where the window leaves the image, the exact kernel is 0.
    """
    window, heads, height = attention.window, attention.heads, x.shape[2]
    spread = x.new_zeros(window.taps, window.size)
    for tap, (first, length) in enumerate(window.spans):
        start = window.radius + first
        spread[tap, start : start + length] = 1 / length
    weights = attention.horizontal.predict(x)[0, :, :, column]
    horizontal = torch.einsum("gkr,kp->grp", weights.unflatten(0, (heads, -1)), spread)  # of each row's pixel
    own = attention.vertical.predict(attention.horizontal(x))[0, :, row, column]
    vertical = own.view(heads, -1) @ spread
    outer = vertical[:, :, None] * horizontal[:, None, row]
    rows = torch.arange(row - window.radius, row + window.radius + 1, device=x.device)
    inside = (rows >= 0) & (rows < height)
    columns = torch.arange(column - window.radius, column + window.radius + 1, device=x.device)
    seen = (columns >= 0) & (columns < x.shape[3])
    exact = vertical[:, :, None] * horizontal[:, rows.clamp(0, height - 1)]
    return outer, exact * inside[:, None] * seen


def rank(kernel: np.ndarray, share: float = 0.01) -> int:
    """Returns how many singular values of a kernel exceed a share of the largest."""
    values = np.linalg.svd(kernel, compute_uv=False)
    return int((values > share * values[0]).sum()) if values[0] > 0 else 0


def sparsity(kernel: np.ndarray) -> float:
    """Returns Hoyer's sparsity: 0 where all weights are of one size, 1 where there is one alone.

    Source: Hoyer, "Non-negative Matrix Factorization with Sparseness Constraints" (2004).
    """
    size, norm = np.sqrt(kernel.size), np.linalg.norm(kernel)
    return float((size - np.abs(kernel).sum() / norm) / (size - 1)) if norm > 0 and size > 1 else 0.0
