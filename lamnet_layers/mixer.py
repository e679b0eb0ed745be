"""ULM, the token mixer, with its channel branch CSM and the exchange IEM."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.fx
from torch import Tensor, nn

from .adapters import LayerType, create_layer, register_layer
from .focal_attention import FocalPass, FocalSeparableAttention
from .fusion import FusedLayer, is_unmodified, run_fused
from .validation import check_divides, check_feature_map, check_int, check_same_shape, refuse_scripting


@register_layer("csm")
class CSM(nn.Module):
    """Channel Selective Mixer: a pointwise bottleneck, ``Conv1×1 C→C/2, ReLU, Conv1×1 C/2→C``.

    Source: paper, section 3.3.

    Args:
        dim: Number of channels C; even.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        (B, C, H, W) → (B, C, H, W).

    Raises:
        ValueError: If ``dim`` is odd or below 2, or the input has the wrong shape.
    """

    def __init__(self, dim: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.dim = check_divides("dim", dim, "the bottleneck reduction", 2)
        self.reduce = nn.Conv2d(dim, dim // 2, 1, device=device, dtype=dtype)
        self.expand = nn.Conv2d(dim // 2, dim, 1, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed channels, (B, C, H, W)."""
        check_feature_map("x", x, self.dim)
        return self.expand(torch.relu(self.reduce(x)))

    __prepare_scriptable__ = refuse_scripting


@register_layer("iem")
class IEM(nn.Module):
    """Information Exchange Module: parameter-free mutual gating of two branches.

    Each branch is gated by its similarity to the mean of the other. With c and a flattened to (B, C, n), n = H·W::

        spatial_gate = sigmoid(mean_n(a)ᵀ @ c / C)     (B, 1, n), scales c
        channel_gate = sigmoid(a @ mean_C(c)ᵀ / n)     (B, C, 1), scales a

    Means and products are computed over the whole image, and in float32 for half-precision inputs, whose range the sums
    exceed.

    Source: paper, section 3.3, equations 9 and 10. Equation 9 has a sum where the text has a mean; the original
    implementation uses the mean.

    Args:
        dim: Number of channels C of each branch; None for any.
        device: Accepted as by other layers; there are no parameters.
        dtype: Accepted as by other layers; there are no parameters.

    Shape:
        c and a, each (B, C, H, W) → (c·spatial_gate, a·channel_gate), each (B, C, H, W), any H, W ≥ 1.
    """

    def __init__(
        self,
        dim: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.dim = None if dim is None else check_int("dim", dim, minimum=1)

    def gates(self, c: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Return the spatial gate (B, 1, H, W) and the channel gate (B, C, 1, 1), both in (0, 1)."""
        check_feature_map("c", c, self.dim)
        check_same_shape("a", a, "c", c)
        mean, agreement = self.statistics(c, a)
        return self.gates_from_statistics(c, mean, agreement)

    def statistics(self, c: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Return the statistics of the gates, ``mean_n(a)`` and ``a @ mean_C(c)ᵀ / n``, each (B, C).

        The statistics of an image are the mean of those of its tiles, weighted by their numbers of pixels, so an image
        can be processed tile by tile.
        """
        return _statistics(c, a)

    def gates_from_statistics(self, c: Tensor, mean: Tensor, agreement: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gates of an image or a tile of it, given the ``statistics`` of the image."""
        return _spatial_gate(c, mean), torch.sigmoid(agreement)[..., None, None]

    @staticmethod
    def scale(c: Tensor, a: Tensor, spatial: Tensor, channel: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gated branches, in the input dtypes."""
        return c * spatial.to(c.dtype), a * channel.to(a.dtype)

    def forward(self, c: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gated channel branch and the gated spatial branch, in the input dtypes.

        Args:
            c: Output of the channel branch, (B, C, H, W).
            a: Output of the spatial branch, (B, C, H, W).

        Raises:
            ValueError: If ``c`` and ``a`` are not feature maps of the same shape.
        """
        return self.scale(c, a, *self.gates(c, a))

    __prepare_scriptable__ = refuse_scripting


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
        self.proj_in = nn.Conv2d(dim, dim, 1, **factory)
        self.channel = nn.Identity() if channel_layer is None else create_layer(channel_layer, half, **factory)
        self.spatial = create_layer(attn_layer, half, **factory)
        self.exchange = None if gate_layer is None else create_layer(gate_layer, half, **factory)
        if gate_layer is None:
            self.register_buffer("without_exchange", torch.tensor(True, device=device))
        self.proj_out = nn.Conv2d(dim, dim, 1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed features, (B, C, H, W)."""
        if (out := run_fused(x, self.fused, self)) is not None:
            return out
        c, a = self.branches(x)
        if self.exchange is not None:
            c, a = self.exchange(c, a)
        return self.join(c, a)

    __prepare_scriptable__ = refuse_scripting

    @property
    def receptive_radius(self) -> tuple[int, int]:
        """Rows and columns on each side that a pixel of the branches depends on; the exchange is image-wide."""
        return self.spatial.receptive_radius

    def fused(self) -> FusedLayer | None:
        """Return the CPU kernel of the mixer, or None for other branches than the defaults."""
        branches = (self.channel, CSM), (self.spatial, FocalSeparableAttention), (self.exchange, IEM)
        if not all(is_unmodified(module, kind) for module, kind in branches):
            return None
        horizontal, vertical = self.spatial.horizontal, self.spatial.vertical
        if not is_unmodified(horizontal, FocalPass) or not is_unmodified(vertical, FocalPass):
            return None
        passes = horizontal.fused(), vertical.fused()
        if passes[0].backend != passes[1].backend:
            return None
        dim, half, reduced = self.dim, self.dim // 2, self.channel.reduce.out_channels
        convolutions = (
            (self.proj_in, dim, (dim, dim, 1, 1)),
            (self.channel.reduce, half, (reduced, half, 1, 1)),
            (self.channel.expand, reduced, (half, reduced, 1, 1)),
            *passes[0].convolutions,
            *passes[1].convolutions,
            (self.proj_out, dim, (dim, dim, 1, 1)),
        )
        sizes, window = (dim, reduced, self.spatial.num_heads), self.spatial.window
        return FusedLayer("mixer", sizes, convolutions, window.strides, window.steps, passes[0].backend)

    def branches(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the channel branch and the spatial branch before the exchange, each (B, C/2, H, W)."""
        check_feature_map("x", x, self.dim)
        c, s = self.proj_in(x).chunk(2, dim=1)
        return self.channel(c), self.spatial(s)

    def join(self, c: Tensor, a: Tensor) -> Tensor:
        """Return the projection of the concatenated branches, (B, C, H, W); pointwise."""
        return self.proj_out(concat_branches(c, a))


@torch.fx.wrap  # one node in FX graphs, as the functions below
def concat_branches(c: Tensor, a: Tensor) -> Tensor:
    """Return the concatenated branches, (B, C, H, W), in the memory layout of ``c``."""
    if c.stride(1) != 1:
        return torch.cat((c, a), dim=1)
    # torch.cat would return a contiguous tensor, which the next 1×1 convolution would copy back.
    return torch.cat((c.permute(0, 2, 3, 1), a.permute(0, 2, 3, 1)), dim=3).permute(0, 3, 1, 2)


@torch.fx.wrap
def _statistics(c: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(torch.promote_types(c.dtype, a.dtype), torch.float32)
    c, a = _flat(c).to(dtype), _flat(a).to(dtype)
    with _without_autocast(c.device.type):
        agreement = a @ c.mean(1, keepdim=True).transpose(1, 2) / c.shape[2]
        return a.mean(2), agreement.squeeze(2)


@torch.fx.wrap
def _spatial_gate(c: Tensor, mean: Tensor) -> Tensor:
    with _without_autocast(c.device.type):
        similarity = mean.unsqueeze(1) @ _flat(c).to(mean.dtype) / c.shape[1]
    return torch.sigmoid(similarity).unflatten(2, c.shape[2:])


def _flat(x: Tensor) -> Tensor:
    # For channels-last maps, any copy stays channels last: a copy to planes takes several times as long.
    return x.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2) if x.stride(1) == 1 else x.flatten(2)


def _without_autocast(device_type: str) -> AbstractContextManager:
    # Only if enabled: the meta device has no autocast, and exported programs would contain the context.
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()
