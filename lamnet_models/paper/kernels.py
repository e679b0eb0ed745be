"""Layers of a LAMNet, their inputs, and dynamic kernels as pixel maps."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lamnet_layers import FocalSeparableAttention

from ..errors import ModelError
from ..factory import resolve_model
from ..lamnet import LAMNet


def open_lamnet(model: nn.Module | str | os.PathLike) -> LAMNet:
    """Return a LAMNet from a module, name or file, in evaluation mode.

    Raises:
        ModelError: If the model is not found or not a LAMNet.
    """
    network = resolve_model(model)
    if not isinstance(network, LAMNet):
        raise ModelError(f"model must be a LAMNet, got {model}")
    return network.eval()


def choose_layers(model: LAMNet, layers: Sequence[int] | None, count: int) -> list[int]:
    """Return layer numbers, from 1: the given ones, or ``count`` evenly spaced ones.

    Raises:
        ValueError: If a layer is out of range.
    """
    total = len(mixers(model))
    if layers is None:
        count = min(count, total)
        return sorted({round(1 + index * (total - 1) / max(count - 1, 1)) for index in range(count)})
    for layer in layers:
        if not 1 <= layer <= total:
            raise ValueError(f"layers must be from 1 to {total}, got {layer}")
    return list(layers)


def mixers(model: LAMNet) -> list[nn.Module]:
    """Return the token mixers, first to last."""
    return [layer.layer for block in model.blocks for layer in list(block.layers)[::2]]


def feed_forwards(model: LAMNet) -> list[nn.Module]:
    """Return the feed-forward networks, first to last."""
    return [layer.layer for block in model.blocks for layer in list(block.layers)[1::2]]


def capture_inputs(model: LAMNet, modules: Iterable[nn.Module], image: Tensor) -> list[Tensor]:
    """Return the inputs of modules in a forward pass of the network.

    Args:
        model: The network.
        modules: Modules of the network.
        image: (1, C, H, W) in [0, 1].
    """
    captured: dict[nn.Module, Tensor] = {}
    modules = list(modules)
    hooks = [
        module.register_forward_pre_hook(lambda module, inputs: captured.__setitem__(module, inputs[0]))
        for module in modules
    ]
    try:
        with torch.no_grad():
            model(image.to(model.mean.dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return [captured[module] for module in modules]


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
