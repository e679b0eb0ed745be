"""LAM block, the repeated block of LAMNet."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._checks import check_int
from .factory import LayerType, create_layer, register_layer
from .feedforward import DGFN
from .mixer import ULM
from .residual import PreNormResidual, ScaledResidual


@register_layer("lam")
class LAMBlock(nn.Module):
    """Linear Adaptive Mixer block: alternating token mixers and feed-forward networks.

    ``depth`` × (ULM sub-block, DGFN sub-block), then ``x + α·y``. Each sub-block is ``x + α·layer(LN(x))``.

    Source: paper, section 3.1 and figure 3.

    Args:
        dim: Number of channels C; a multiple of 8 with the default layers.
        depth: Number of mixers N, each followed by a feed-forward network.
        mixer_layer: Token mixer: a class, a ``functools.partial`` or a name known to
            [`create_layer`][lamnet_layers.create_layer], called with C, ``device`` and ``dtype``.
        mlp_layer: Feed-forward network, likewise.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        (B, C, H, W) → (B, C, H, W), any H, W ≥ 1.

    Raises:
        ValueError: If an argument is out of range or the input has the wrong shape.

    Example:
        >>> attention = partial(FocalSeparableAttention, num_heads=2, window=((1, 2), (3, 3)))
        >>> block = LAMBlock(64, depth=2, mixer_layer=partial(ULM, attn_layer=attention))
        >>> block(torch.randn(1, 64, 20, 30)).shape
        torch.Size([1, 64, 20, 30])
    """

    def __init__(
        self,
        dim: int,
        depth: int = 6,
        mixer_layer: LayerType = ULM,
        mlp_layer: LayerType = DGFN,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        factory = {"device": device, "dtype": dtype}
        layers = [
            PreNormResidual(dim, create_layer(layer, dim, **factory), **factory)
            for _ in range(check_int("depth", depth, minimum=1))
            for layer in (mixer_layer, mlp_layer)
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = ScaledResidual(dim, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """Return the refined features, (B, C, H, W)."""
        features = x
        for layer in self.layers:
            features = layer.forward_tiled(features)
        return self.residual(x, features)
