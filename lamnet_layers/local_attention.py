"""Dynamic local attention, what the paper's table 4 compares focal separable attention with."""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._checks import check_feature_map, check_int
from .pointwise import PointwiseConv
from .window import FocalWindow


class MHDLSA(nn.Module):
    """Multi-Head Dynamic Local Self-Attention: a depthwise convolution whose kernel every pixel predicts for itself.

    ``v = Conv1×1(x); weights = Conv1×1(DWConv K×K(Conv1×1(v)))``, with neither activation nor norm between;
    ``Conv1×1(dynamic K×K convolution of v with weights)``. The channels of a head share weights. Its cost grows with
    the window's area, where that of [`FocalSeparableAttention`][lamnet_layers.FocalSeparableAttention] grows with its
    side.

    Source: Li et al., "DLGSANet: Lightweight Dynamic Local and Global Self-Attention Networks for Image
    Super-Resolution" (2023), its dynamic local attention; the row FSA → MHDLSA of the paper's table 4.

    Args:
        channels: Number of channels D.
        heads: Number of groups G of channels that share weights, at most D. Where it does not divide D, the first
            groups have a channel more than the others.
        kernel_size: Side K of the window in pixels, odd.
        hidden_channels: Width of the network that predicts the weights; D/4, rounded down, if None.
        device: Device of the parameters.
        dtype: Type of the parameters.

    Shape:
        (B, D, H, W) → (B, D, H, W), any H, W ≥ 1. Pixels outside the image count as 0.

    Raises:
        ValueError: If an argument is out of its range, or the input has another shape.
    """

    def __init__(
        self,
        channels: int,
        heads: int = 4,
        kernel_size: int = 7,
        hidden_channels: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.channels = check_int("channels", channels, minimum=1)
        self.heads = check_int("heads", heads, minimum=1)
        self.kernel_size = check_int("kernel_size", kernel_size, minimum=1)
        if self.heads > self.channels:
            raise ValueError(f"heads is {heads}, but it must be at most channels = {channels}")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {kernel_size}, but it must be odd")
        if hidden_channels is None:
            hidden_channels = max(channels // 4, 1)
        hidden = check_int("hidden_channels", hidden_channels, minimum=1)
        factory = {"device": device, "dtype": dtype}
        self.proj_in = nn.Conv2d(channels, channels, 1, bias=False, **factory)
        self.reduce = PointwiseConv(channels, hidden, **factory)
        self.depthwise = nn.Conv2d(hidden, hidden, kernel_size, padding=kernel_size // 2, groups=hidden, **factory)
        self.expand = PointwiseConv(hidden, heads * kernel_size**2, **factory)
        self.proj_out = nn.Conv2d(channels, channels, 1, bias=False, **factory)

    @property
    def window(self) -> FocalWindow:
        """The window along each axis."""
        radius = self.kernel_size // 2
        return FocalWindow((1,), (radius,)) if radius else FocalWindow((), ())

    def predict(self, v: Tensor) -> Tensor:
        """Returns each pixel's kernels, (B, G·K², H, W): tap k of head g, row by row, is channel g·K² + k."""
        return self.expand.planes(self.depthwise(self.reduce(v)))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the attended features, (B, D, H, W)."""
        check_feature_map("x", x, self.channels)
        v = self.proj_in(x)
        return self.proj_out(self._convolve(v, self.predict(v)))

    def _convolve(self, v: Tensor, weights: Tensor) -> Tensor:
        """Convolves each pixel's surroundings in v with its own kernels."""
        radius, (height, width) = self.kernel_size // 2, v.shape[2:]
        padded = F.pad(v.contiguous(), (radius,) * 4)
        weights = weights.unflatten(1, (self.heads, -1))
        size, larger = divmod(self.channels, self.heads)
        counts = (larger, self.heads - larger)  # of heads with a channel more, and of those without
        channels = (larger * (size + 1), (self.heads - larger) * size)
        results = []
        for part, kernels in zip(padded.split(channels, dim=1), weights.split(counts, dim=1), strict=True):
            if kernels.shape[1] == 0:
                continue
            part = part.unflatten(1, (kernels.shape[1], -1))
            total = None
            for tap, (row, column) in enumerate(product(range(self.kernel_size), repeat=2)):
                seen, weight = part[..., row : row + height, column : column + width], kernels[:, :, None, tap]
                total = seen * weight if total is None else torch.addcmul(total, seen, weight)
            results.append(total.flatten(1, 2))
        return torch.cat(results, dim=1)
