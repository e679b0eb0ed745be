"""Layers by name, and an adapter for networks that use tokens or channels-last maps."""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from .validation import check_choice, check_int

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


@register_layer("linear")
def linear(dim: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> nn.Conv2d:
    """Return a 1×1 convolution on ``dim`` channels."""
    return nn.Conv2d(dim, dim, 1, device=device, dtype=dtype)


class TokenAdapter(nn.Module):
    """Adapter for feature-map layers on tokens: FSA as attention, DGFN as MLP.

    Accepts the tokens of a grid in row-major order, as in Vision Transformers, or channels-last maps, as in ConvNeXt
    and Swin, without copying. All tokens must belong to the grid: build timm's Vision Transformers with
    ``class_token=False, global_pool="avg"``. Masks are not supported: in timm's Swin Transformers, replace the
    attention of the blocks without shift.

    Args:
        layer: Module (B, C, H, W) → (B, C, H, W).
        grid: Rows and columns of the token grid; None for a square grid.

    Shape:
        (B, H·W, C) → (B, H·W, C), or (B, H, W, C) → (B, H, W, C).

    Raises:
        ValueError: If ``grid`` is not a pair of positive integers, the shape or number of tokens is wrong, or a mask is
            passed.

    Example:
        >>> attention = TokenAdapter(FocalSeparableAttention(64), grid=(6, 8))
        >>> attention(torch.randn(1, 48, 64)).shape
        torch.Size([1, 48, 64])
    """

    def __init__(self, layer: nn.Module, grid: tuple[int, int] | None = None) -> None:
        super().__init__()
        if grid is not None and len(grid) != 2:
            raise ValueError(f"grid must be (rows, columns) or None, got {grid!r}")
        self.grid = None if grid is None else tuple(check_int("grid", side, minimum=1) for side in grid)
        self.layer = layer

    def forward(
        self, x: Tensor, mask: Tensor | None = None, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """Return the layer's output in the format of ``x``; the signature covers timm's attentions."""
        if mask is not None or attn_mask is not None or is_causal:
            raise ValueError("mask and attn_mask must be None and is_causal False: feature-map layers have no masks")
        if x.dim() == 4:
            return self.layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        if x.dim() != 3:
            raise ValueError(f"x must be tokens (B, N, C) or a map (B, H, W, C), got shape {tuple(x.shape)}")
        features = x.transpose(1, 2).unflatten(2, self._grid(x.shape[1]))
        return self.layer(features).flatten(2).transpose(1, 2)

    def _grid(self, tokens: int) -> tuple[int, int]:
        rows, columns = self.grid or (isqrt(tokens), isqrt(tokens))
        if rows * columns != tokens:
            expected = (
                f"{rows}×{columns} tokens" if self.grid else "a square number of tokens, or pass grid=(rows, columns)"
            )
            raise ValueError(f"x must have {expected}, got {tokens}; class tokens are not supported")
        return rows, columns

    def extra_repr(self) -> str:
        """Return the grid."""
        return f"grid={self.grid}"
