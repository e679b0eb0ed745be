"""Layers of feature maps in networks that pass tokens, or maps with channels last."""

from __future__ import annotations

from math import isqrt

from torch import Tensor, nn

from ._checks import check_int


class TokenAdapter(nn.Module):
    """Runs a layer of feature maps on tokens: FSA in the place of a Transformer's attention, DGFN in that of its MLP.

    Takes tokens in rows of a grid, as Vision Transformers have them, or maps with channels last, as ConvNeXt and Swin
    have them. Neither is copied. Every token must belong to the grid: build timm's Vision Transformers with
    ``class_token=False, global_pool="avg"``.

    Args:
        layer: Any module (B, C, H, W) → (B, C, H, W).
        grid: Rows and columns of the grid that tokens (B, N, C) come from; None for a square one.

    Shape:
        (B, H·W, C) → (B, H·W, C), or (B, H, W, C) → (B, H, W, C).

    Raises:
        ValueError: If ``grid`` is no pair of positive integers, the input has another shape or number of tokens, or a
            mask comes with it.

    Example:
        >>> attention = TokenAdapter(FocalSeparableAttention(64), grid=(6, 8))
        >>> attention(torch.randn(1, 48, 64)).shape
        torch.Size([1, 48, 64])
    """

    def __init__(self, layer: nn.Module, grid: tuple[int, int] | None = None) -> None:
        super().__init__()
        if grid is not None and len(grid) != 2:
            raise ValueError(f"grid is {grid!r}, but it must be (rows, columns) or None")
        self.grid = None if grid is None else tuple(check_int("grid", side, minimum=1) for side in grid)
        self.layer = layer

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Returns the layer's result in the form that came; the other arguments are those that timm gives attention."""
        if attn_mask is not None or is_causal:
            raise ValueError("attn_mask was given, but a layer of feature maps takes no mask")
        if x.dim() == 4:
            return self.layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        if x.dim() != 3:
            raise ValueError(f"x has shape {tuple(x.shape)}, but it must be tokens (B, N, C) or a map (B, H, W, C)")
        features = x.transpose(1, 2).unflatten(2, self._grid(x.shape[1]))
        return self.layer(features).flatten(2).transpose(1, 2)

    def _grid(self, tokens: int) -> tuple[int, int]:
        rows, columns = self.grid or (isqrt(tokens), isqrt(tokens))
        if rows * columns != tokens:
            expected = f"the grid's {rows}×{columns}" if self.grid else "a square number; or give grid=(rows, columns)"
            raise ValueError(f"x has {tokens} tokens, but there must be {expected}; a class token belongs to no grid")
        return rows, columns

    def extra_repr(self) -> str:
        """Returns the grid."""
        return f"grid={self.grid}"
