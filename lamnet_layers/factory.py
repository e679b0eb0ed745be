"""Layer registry and creation by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from torch import nn

from .validation import check_choice

LayerType: TypeAlias = str | Callable[..., nn.Module]
"""Types accepted as a layer: a registered name, or a class or other callable ``(dim, **kwargs) → module``."""

_LAYERS: dict[str, Callable[..., nn.Module]] = {}
_T = TypeVar("_T", bound=Callable[..., nn.Module])


def register_layer(name: str) -> Callable[[_T], _T]:
    """Register the decorated class or function under a name, for [`create_layer`][lamnet_layers.create_layer]."""

    def register(layer: _T) -> _T:
        _LAYERS[name] = layer
        return layer

    return register


def create_layer(layer: LayerType, dim: int, **kwargs: Any) -> nn.Module:
    """Create a layer from its name, like timm's ``create_attn`` and ``create_norm_layer``.

    Args:
        layer: ``"fsa"``, ``"csm"``, ``"linear"`` (1×1 convolution), ``"iem"``, ``"ulm"``, ``"dgfn"`` or ``"lam"``; or
            a class or other callable, such as a ``functools.partial``, called with the other arguments.
        dim: Number of channels C.
        **kwargs: Further arguments of the layer.

    Returns:
        The layer, (B, C, H, W) → (B, C, H, W); ``"iem"`` maps two such feature maps to two.

    Raises:
        ValueError: If the name is unknown or an argument is out of range.

    Example:
        >>> create_layer("fsa", 64, num_heads=8)(torch.randn(1, 64, 20, 30)).shape
        torch.Size([1, 64, 20, 30])
    """
    if callable(layer):
        return layer(dim, **kwargs)
    check_choice("layer", layer, tuple(_LAYERS))
    return _LAYERS[layer](dim, **kwargs)
