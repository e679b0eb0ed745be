"""IEM, the parameter-free exchange between the channel branch and the spatial branch."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from ._checks import check_feature_map, check_int
from .factory import register_layer


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
        check_feature_map("a", a, self.dim)
        if a.shape != c.shape:
            raise ValueError(f"a must have the shape of c, {tuple(c.shape)}, got {tuple(a.shape)}")
        return self.gates_from_statistics(c, *self.statistics(c, a))

    def statistics(self, c: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Return the statistics of the gates, ``mean_n(a)`` and ``a @ mean_C(c)ᵀ / n``, each (B, C).

        The statistics of an image are the mean of those of its tiles, weighted by their numbers of pixels, so an image
        can be processed tile by tile.
        """
        dtype = torch.promote_types(torch.promote_types(c.dtype, a.dtype), torch.float32)
        c, a = _flat(c).to(dtype), _flat(a).to(dtype)
        with _without_autocast(c.device.type):
            agreement = a @ c.mean(1, keepdim=True).transpose(1, 2) / c.shape[2]
            return a.mean(2), agreement.squeeze(2)

    def gates_from_statistics(self, c: Tensor, mean: Tensor, agreement: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gates of an image or a tile of it, given the ``statistics`` of the image."""
        with _without_autocast(c.device.type):
            similarity = mean.unsqueeze(1) @ _flat(c).to(mean.dtype) / c.shape[1]
        return torch.sigmoid(similarity).unflatten(2, c.shape[2:]), torch.sigmoid(agreement)[..., None, None]

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


def _flat(x: Tensor) -> Tensor:
    # For channels-last maps, any copy stays channels last: a copy to planes takes several times as long.
    return x.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2) if x.stride(1) == 1 else x.flatten(2)


def _without_autocast(device_type: str) -> AbstractContextManager:
    # Only if enabled: the meta device has no autocast, and exported programs would contain the context.
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()
