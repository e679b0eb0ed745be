"""Layers by name, as configurations and command lines give them."""

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
"""Layers on (B, C, H, W) by name; each takes the number of channels first."""


def create_layer(layer: str | Callable[..., nn.Module], channels: int, **kwargs: Any) -> nn.Module:
    """Creates a layer from its name, in the manner of timm's ``create_attn`` and ``create_norm_layer``.

    Args:
        layer: ``"fsa"``, ``"ulm"``, ``"csm"``, ``"lam"``, ``"dgfn"``, ``"gdfn"`` or ``"ffn"``; or a class or function
            that is called with what follows.
        channels: Number of channels C.
        **kwargs: Other arguments of the layer.

    Returns:
        The layer, (B, C, H, W) → (B, C, H, W).

    Raises:
        ValueError: If there is no layer of that name, or an argument is out of its range.

    Example:
        >>> create_layer("fsa", 64, heads=8)(torch.randn(1, 64, 20, 30)).shape
        torch.Size([1, 64, 20, 30])
    """
    if callable(layer):
        return layer(channels, **kwargs)
    check_choice("layer", layer, tuple(LAYERS))
    return LAYERS[layer](channels, **kwargs)
