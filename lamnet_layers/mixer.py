"""ULM, the token mixer: a channel branch and a spatial branch in parallel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._checks import check_choice, check_divides, check_feature_map, check_int
from .attention import FocalSeparableAttention
from .channel import CSM
from .exchange import IEM
from .local_attention import MHDLSA
from .pointwise import PointwiseConv
from .window import FocalWindow, WindowLike

CHANNEL_MIXERS = ("csm", "linear", "none")
ATTENTIONS = ("fsa", "mhdlsa")


class ULM(nn.Module):
    """Unified Linear Mixer: parallel channel and spatial branches with information exchange.

    ``c, s = split(Conv1×1(x)); c = CSM(c); a = FSA(s); Conv1×1(concat(IEM(c, a)))``.

    Source: paper, section 3.3 and figure 3. ``attention``, ``channel_mixer`` and ``exchange`` select the ablations of
    its table 4.

    Args:
        dim: Number of channels C; a multiple of 2·``num_heads``, or of 2 with ``attention="mhdlsa"``, and of 4 with
            ``channel_mixer="csm"``.
        num_heads: Number of attention heads.
        window: Focal window or pair (strides, steps); None for the attention's default: 23 pixels in 13 cells for
            ``"fsa"``, 7×7 pixels for ``"mhdlsa"``, which supports cells of one pixel only.
        channel_mixer: ``"csm"``, ``"linear"`` (one 1×1 convolution) or ``"none"`` (identity).
        exchange: Whether the branches gate each other with [`IEM`][lamnet_layers.IEM]. IEM has no parameters, so the
            state dict of a mixer without it contains the marker ``without_exchange``.
        attention: Spatial branch: ``"fsa"`` ([`FocalSeparableAttention`][lamnet_layers.FocalSeparableAttention]) or
            ``"mhdlsa"`` ([`MHDLSA`][lamnet_layers.MHDLSA]).
        backend: Backend of the aggregation, see [`focal_aggregate`][lamnet_layers.focal_aggregate].
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
        num_heads: int = 4,
        window: WindowLike = None,
        channel_mixer: str = "csm",
        exchange: bool = True,
        attention: str = "fsa",
        backend: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        num_heads = check_int("num_heads", num_heads, minimum=1)
        check_choice("attention", attention, ATTENTIONS)
        if attention == "fsa":
            self.dim = check_divides("dim", dim, "2·num_heads", 2 * num_heads)
        else:
            self.dim = check_divides("dim", dim, "the number of branches", 2)
        check_choice("channel_mixer", channel_mixer, CHANNEL_MIXERS)
        check_choice("exchange", exchange, (True, False))
        if channel_mixer == "csm":
            check_divides("dim", dim, "the number of branches times the reduction of CSM", 4)
        half = dim // 2
        self.proj_in = PointwiseConv(dim, dim, device=device, dtype=dtype)
        if channel_mixer == "csm":
            self.channel = CSM(half, device=device, dtype=dtype)
        elif channel_mixer == "linear":
            self.channel = PointwiseConv(half, half, device=device, dtype=dtype)
        else:
            self.channel = nn.Identity()
        if attention == "fsa":
            self.spatial = FocalSeparableAttention(half, num_heads, window, backend, device=device, dtype=dtype)
        else:
            self.spatial = MHDLSA(half, num_heads, _kernel_size(window), device=device, dtype=dtype)
        self.exchange = IEM() if exchange else None
        if not exchange:
            self.register_buffer("without_exchange", torch.tensor(True, device=device))
        self.proj_out = PointwiseConv(dim, dim, device=device, dtype=dtype)

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


def _kernel_size(window: WindowLike) -> int:
    window = FocalWindow((1,), (3,)) if window is None else FocalWindow.of(window)
    if any(stride > 1 for stride in window.strides):
        raise ValueError(
            f"window must have cells of one pixel for attention='mhdlsa', such as ((1,), (3,)), got {window}"
        )
    return window.size
