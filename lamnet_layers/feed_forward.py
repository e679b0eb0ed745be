"""DGFN, the feed-forward network of the LAM block."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .adapters import register_layer
from .backend import check_backend
from .chunking import apply_chunked
from .functional import dual_gate
from .fusion import FusedLayer, run_fused
from .validation import check_feature_map, check_int, refuse_scripting


@register_layer("dgfn")
class DGFN(nn.Module):
    """Dual-Gated Feed-forward Network: one activation gates both halves.

    ``x1, x2 = DWConv3×3(Conv1×1(x)); u = GELU(x1)``; ``Conv1×1(concat(u·x1, u·x2))``, with the exact (erf) GELU. The
    self-gate u·x1 keeps information that the cross-gate u·x2 alone discards.

    Source: paper, section 3.4.

    Args:
        dim: Number of channels C.
        hidden_dim: Number of channels h of each half; ``dim`` if None.
        backend: See [`dual_gate`][lamnet_layers.functional.dual_gate].
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        (B, C, H, W) → (B, C, H, W).

    Raises:
        ValueError: If an argument is below 1 or the input has the wrong shape.
    """

    receptive_radius = (1, 1)

    def __init__(
        self,
        dim: int,
        hidden_dim: int | None = None,
        backend: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.dim = check_int("dim", dim, minimum=1)
        hidden = dim if hidden_dim is None else check_int("hidden_dim", hidden_dim, minimum=1)
        self.hidden_dim = hidden
        self.backend = check_backend(backend)
        self.proj_in = nn.Conv2d(dim, 2 * hidden, 1, device=device, dtype=dtype)
        self.depthwise = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, device=device, dtype=dtype)
        self.proj_out = nn.Conv2d(2 * hidden, dim, 1, device=device, dtype=dtype)

    @property
    def peak_channels(self) -> int:
        """Number of channels of the widest intermediate map."""
        return 2 * self.hidden_dim

    def fused(self) -> FusedLayer:
        """Return the CPU kernel of the network."""
        both = 2 * self.hidden_dim
        convolutions = (
            (self.proj_in, self.dim, (both, self.dim, 1, 1)),
            (self.depthwise, both, (both, 1, 3, 3)),
            (self.proj_out, both, (self.dim, both, 1, 1)),
        )
        return FusedLayer("feed_forward", (self.dim, self.hidden_dim), convolutions, backend=self.backend)

    def forward(self, x: Tensor) -> Tensor:
        """Return the transformed features, (B, C, H, W)."""
        if (out := run_fused(x, self.fused, self)) is not None:
            return out
        check_feature_map("x", x, self.dim)
        modules = tuple(self.children())
        return apply_chunked(modules, self._transform, x, self.peak_channels, self.receptive_radius)

    __prepare_scriptable__ = refuse_scripting

    def _transform(self, x: Tensor) -> Tensor:
        return self.proj_out(dual_gate(self.proj_in(x), self.depthwise, backend=self.backend))
