"""IEM: what the channel branch and the spatial branch tell each other."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from ._checks import check_feature_map


class IEM(nn.Module):
    """Information Exchange Module: gates each branch by how it agrees with a summary of the other. No parameters.

    With n = H·W pixels and C channels a branch::

        spatial gate (B, 1, n) = sigmoid(mean over pixels of a, multiplied with c over the channels, / C)   → scales c
        channel gate (B, C, 1) = sigmoid(a, multiplied over the pixels with the mean over channels of c, / n) → scales a

    Means and products are taken over the whole image, in float32 for half precision, whose range the sums exceed.

    Source: paper, section 3.3, equations 9 and 10. Equation 9 writes the query as a sum and the text as a mean: the
    mean is what the released network computes.

    Shape:
        c and a, each (B, C, H, W) → c·spatial gate and a·channel gate, each (B, C, H, W), any H, W ≥ 1.
    """

    def gates(self, c: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the spatial gate (B, 1, H, W) and the channel gate (B, C, 1, 1), both in (0, 1)."""
        check_feature_map("c", c)
        check_feature_map("a", a)
        if a.shape != c.shape:
            raise ValueError(f"a has shape {tuple(a.shape)}, but it must have the shape of c, {tuple(c.shape)}")
        return self.gates_from(c, *self.summarise(c, a))

    def summarise(self, c: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what the gates need to know of all pixels: the means of a, and of a times c's mean over the channels.

        Both are (B, C). Those of an image are the means of its parts', each weighted by its number of pixels: so an
        image can be summarised that no memory holds.
        """
        exact = torch.promote_types(torch.promote_types(c.dtype, a.dtype), torch.float32)
        c, a = _flat(c).to(exact), _flat(a).to(exact)
        with _without_autocast(c.device.type):
            agreement = a @ c.mean(1, keepdim=True).transpose(1, 2) / c.shape[2]
            return a.mean(2), agreement.squeeze(2)

    def gates_from(self, c: Tensor, mean: Tensor, agreement: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the gates for all or some of an image's pixels, given what ``summarise`` returns of all of them."""
        with _without_autocast(c.device.type):
            similarity = mean.unsqueeze(1) @ _flat(c).to(mean.dtype) / c.shape[1]
        return torch.sigmoid(similarity).unflatten(2, c.shape[2:]), torch.sigmoid(agreement)[..., None, None]

    @staticmethod
    def scale(c: Tensor, a: Tensor, spatial: Tensor, channel: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the branches scaled by the gates, in the types they came in."""
        return c * spatial.to(c.dtype), a * channel.to(a.dtype)

    def forward(self, c: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the gated channel branch and the gated spatial branch, in the types they came in.

        Args:
            c: Output of the channel branch, (B, C, H, W).
            a: Output of the spatial branch, (B, C, H, W).

        Raises:
            ValueError: If the two are not feature maps of the same shape.
        """
        return self.scale(c, a, *self.gates(c, a))


def _flat(x: Tensor) -> Tensor:
    # Where part of a map has to be copied, as it lies: to planes would take several times as long.
    return x.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2) if x.stride(1) == 1 else x.flatten(2)


def _without_autocast(device_type: str) -> AbstractContextManager:
    # Only where it is on: the context is unknown to the meta device and would end up in exported programs.
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()
