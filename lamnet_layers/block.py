"""LAM block, the repeated block of LAMNet."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._checks import check_choice, check_int
from .feedforward import DGFN, FFN, GDFN
from .mixer import ULM
from .residual import PreNormResidual, ScaledResidual
from .window import WindowLike

FEED_FORWARDS = {"dgfn": DGFN, "gdfn": GDFN, "ffn": FFN}


class LAMBlock(nn.Module):
    """Linear Adaptive Mixer block: alternating token mixers and feed-forward networks.

    ``depth`` × (ULM sub-block, DGFN sub-block), then ``x + α·y``. Each sub-block is ``x + α·layer(LN(x))``.

    Source: paper, section 3.1 and figure 3; table 4 for the alternatives.

    Args:
        dim: Number of channels C; see [`ULM`][lamnet_layers.ULM] for its divisibility.
        depth: Number of mixers N, each followed by a feed-forward network.
        num_heads: Number of attention heads.
        window: Focal window or pair (strides, steps); None for the attention's default.
        channel_mixer: ``"csm"``, ``"linear"`` or ``"none"``.
        exchange: Whether the mixer's branches gate each other.
        feed_forward: ``"dgfn"``, ``"gdfn"`` or ``"ffn"``.
        hidden_dim: Hidden channels of the feed-forward network; None for its default.
        attention: ``"fsa"`` or ``"mhdlsa"``.
        backend: Backend of the aggregation and of DGFN's gates, see
            [`focal_aggregate`][lamnet_layers.focal_aggregate].
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        (B, C, H, W) → (B, C, H, W), any H, W ≥ 1.

    Raises:
        ValueError: If an argument is out of range or the input has the wrong shape.
    """

    def __init__(
        self,
        dim: int,
        depth: int = 6,
        num_heads: int = 4,
        window: WindowLike = None,
        channel_mixer: str = "csm",
        exchange: bool = True,
        feed_forward: str = "dgfn",
        hidden_dim: int | None = None,
        attention: str = "fsa",
        backend: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_choice("feed_forward", feed_forward, tuple(FEED_FORWARDS))
        factory = {"device": device, "dtype": dtype}
        backend_kwargs = {"backend": backend} if feed_forward == "dgfn" else {}  # only DGFN has kernels
        layers = []
        for _ in range(check_int("depth", depth, minimum=1)):
            layers += [
                ULM(dim, num_heads, window, channel_mixer, exchange, attention, backend, **factory),
                FEED_FORWARDS[feed_forward](dim, hidden_dim, **backend_kwargs, **factory),
            ]
        self.layers = nn.Sequential(*(PreNormResidual(dim, layer, **factory) for layer in layers))
        self.residual = ScaledResidual(dim, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """Return the refined features, (B, C, H, W)."""
        features = x
        for layer in self.layers:
            features = layer.forward_tiled(features)
        return self.residual(x, features)
