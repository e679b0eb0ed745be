"""Dynamic kernels of focal separable attention as pixel maps."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lamnet_layers import FocalSeparableAttention


@torch.no_grad()
def dynamic_kernels(attention: FocalSeparableAttention, x: Tensor, row: int, column: int) -> tuple[Tensor, Tensor]:
    """Return the kernels of a pixel over the P×P pixels around it.

    Args:
        attention: The layer.
        x: Its input, (1, D, H, W).
        row: Row of the pixel.
        column: Column of the pixel.

    Returns:
        Two tensors (heads, P, P). First, the outer product of the pixel's vertical and horizontal weights, spread over
        their cells, as shown in the paper: ``v[i]·h(row)[j]``. Second, the exact kernel, in which each row has its own
        horizontal weights: ``v[i]·h(row + i)[j]``, 0 outside of the image. The layer's output at the pixel is the
        sum of its neighborhood times the exact kernel.
    """
    window, heads, height = attention.window, attention.num_heads, x.shape[2]
    spread = x.new_zeros(window.taps, window.size)
    for tap, (first, length) in enumerate(window.spans):
        start = window.radius + first
        spread[tap, start : start + length] = 1 / length
    weights = attention.horizontal.predict(x)[0, :, :, column]
    horizontal = torch.einsum("gkr,kp->grp", weights.unflatten(0, (heads, -1)), spread)  # weights of each row
    weights = attention.vertical.predict(attention.horizontal(x))[0, :, row, column]
    vertical = weights.view(heads, -1) @ spread
    product = vertical[:, :, None] * horizontal[:, None, row]
    rows = torch.arange(row - window.radius, row + window.radius + 1, device=x.device)
    valid_rows = (rows >= 0) & (rows < height)
    columns = torch.arange(column - window.radius, column + window.radius + 1, device=x.device)
    valid_columns = (columns >= 0) & (columns < x.shape[3])
    exact = vertical[:, :, None] * horizontal[:, rows.clamp(0, height - 1)]
    return product, exact * valid_rows[:, None] * valid_columns


def rank(kernel: np.ndarray, share: float = 0.01) -> int:
    """Return the number of singular values of a kernel above a share of the largest."""
    values = np.linalg.svd(kernel, compute_uv=False)
    return int((values > share * values[0]).sum()) if values[0] > 0 else 0


def sparsity(kernel: np.ndarray) -> float:
    """Return Hoyer's sparsity: 0 if all weights have equal magnitude, 1 if only one is nonzero.

    Source: Hoyer, "Non-negative Matrix Factorization with Sparseness Constraints" (2004).
    """
    size, norm = np.sqrt(kernel.size), np.linalg.norm(kernel)
    return float((size - np.abs(kernel).sum() / norm) / (size - 1)) if norm > 0 and size > 1 else 0.0
