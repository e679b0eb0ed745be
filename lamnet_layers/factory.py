"""Layer creation by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ._checks import check_choice
from .attention import FocalSeparableAttention
from .block import FEED_FORWARDS, LAMBlock
from .channel import CSM
from .mixer import ULM

LAYERS: dict[str, Callable[..., nn.Module]] = {
    "fsa": FocalSeparableAttention,
    "ulm": ULM,
    "csm": CSM,
    "lam": LAMBlock,
    **FEED_FORWARDS,
}
"""Layers by name; the first argument of each is the number of channels."""


def create_layer(layer: str | Callable[..., nn.Module], dim: int, **kwargs: Any) -> nn.Module:
    """Create a layer from its name, like timm's ``create_attn`` and ``create_norm_layer``.

    Args:
        layer: ``"fsa"``, ``"ulm"``, ``"csm"``, ``"lam"``, ``"dgfn"``, ``"gdfn"`` or ``"ffn"``; or a callable,
            called with the other arguments.
        dim: Number of channels C.
        **kwargs: Further arguments of the layer.

    Returns:
        The layer, (B, C, H, W) → (B, C, H, W).

    Raises:
        ValueError: If the name is unknown or an argument is out of range.

    Example:
        >>> create_layer("fsa", 64, num_heads=8)(torch.randn(1, 64, 20, 30)).shape
        torch.Size([1, 64, 20, 30])
    """
    if callable(layer):
        return layer(dim, **kwargs)
    check_choice("layer", layer, tuple(LAYERS))
    return LAYERS[layer](dim, **kwargs)
