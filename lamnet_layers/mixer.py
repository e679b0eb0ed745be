"""ULM, the token mixer: a channel branch and a spatial branch in parallel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._checks import check_divides, check_feature_map
from .attention import FocalSeparableAttention
from .channel import CSM
from .exchange import IEM
from .factory import LayerType, create_layer, register_layer
from .pointwise import PointwiseConv


@register_layer("ulm")
class ULM(nn.Module):
    """Unified Linear Mixer: parallel channel and spatial branches with information exchange.

    ``c, s = split(Conv1×1(x)); c = CSM(c); a = FSA(s); Conv1×1(concat(IEM(c, a)))``.

    Source: paper, section 3.3 and figure 3.

    Args:
        dim: Number of channels C; even. The layers of the branches have C/2 channels, so the defaults need a multiple
            of 8.
        attn_layer: Layer of the spatial branch: a class, a ``functools.partial`` or a name known to
            [`create_layer`][lamnet_layers.create_layer], called with C/2, ``device`` and ``dtype``.
        channel_layer: Layer of the channel branch, likewise; None for the identity.
        gate_layer: Layer (c, a) → (c, a) between the branches, likewise; None for no exchange. IEM has no parameters,
            so the state dict of a mixer without exchange contains the marker ``without_exchange``.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        (B, C, H, W) → (B, C, H, W), any H, W ≥ 1.

    Raises:
        ValueError: If an argument is out of range or the input has the wrong shape.

    Example:
        >>> mixer = ULM(64, attn_layer=partial(FocalSeparableAttention, num_heads=8), channel_layer="linear")
        >>> mixer(torch.randn(1, 64, 20, 30)).shape
        torch.Size([1, 64, 20, 30])
    """

    def __init__(
        self,
        dim: int,
        attn_layer: LayerType = FocalSeparableAttention,
        channel_layer: LayerType | None = CSM,
        gate_layer: LayerType | None = IEM,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        factory = {"device": device, "dtype": dtype}
        self.dim = check_divides("dim", dim, "the number of branches", 2)
        half = dim // 2
        self.proj_in = PointwiseConv(dim, dim, **factory)
        self.channel = nn.Identity() if channel_layer is None else create_layer(channel_layer, half, **factory)
        self.spatial = create_layer(attn_layer, half, **factory)
        self.exchange = None if gate_layer is None else create_layer(gate_layer, half, **factory)
        if gate_layer is None:
            self.register_buffer("without_exchange", torch.tensor(True, device=device))
        self.proj_out = PointwiseConv(dim, dim, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed features, (B, C, H, W)."""
        c, a = self.branches(x)
        if self.exchange is not None:
            c, a = self.exchange(c, a)
        return self.join(c, a)

    def branches(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the channel branch and the spatial branch before the exchange, each (B, C/2, H, W).

        The receptive radius is that of the window.
        """
        check_feature_map("x", x, self.dim)
        c, s = self.proj_in(x).chunk(2, dim=1)
        return self.channel(c), self.spatial(s)

    def join(self, c: Tensor, a: Tensor) -> Tensor:
        """Return the projection of the concatenated branches, (B, C, H, W); pointwise."""
        return self.proj_out(self.concat_branches(c, a))

    @staticmethod
    def concat_branches(c: Tensor, a: Tensor) -> Tensor:
        """Return the concatenated branches, (B, C, H, W), in the memory layout of ``c``."""
        if c.stride(1) != 1:
            return torch.cat((c, a), dim=1)
        # torch.cat would return planes, which the next 1×1 convolution would copy back.
        return torch.cat((c.permute(0, 2, 3, 1), a.permute(0, 2, 3, 1)), dim=3).permute(0, 3, 1, 2)
