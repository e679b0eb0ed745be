"""Effective receptive field, averaged over images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from .view import Differentiable

SHARES = (0.5, 0.9, 0.99)
"""Shares of the gradient for which the extent is reported."""


@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """An effective receptive field.

    Attributes:
        map: Mean magnitude of the gradient of the output's center by input pixel, (H, W), divided by the largest.
        extent: Side in pixels of the smallest centered square that contains a share of the gradient, by share.
    """

    map: np.ndarray
    extent: dict[float, int]


def receptive_field(
    model: nn.Module, images: Iterable[Tensor], on_status: Callable[[str], None] | None = None
) -> ReceptiveField:
    """Compute the effective receptive field of a network.

    ``mean_images(sum_channels(|∂y/∂x|))``, with y the sum over channels of the r×r output pixels of the central pixel
    of the input x.

    Source: Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks" (2016); the
    extents are those of Ding et al., "Scaling Up Your Kernels to 31×31" (2022).

    Args:
        model: A network on (B, C, H, W) with attributes ``scale`` and ``in_chans``.
        images: (1, C, H, W) each, all of one size.
        on_status: Called with status lines.

    Raises:
        ValueError: If ``images`` is empty.
    """
    network = Differentiable(model)
    total, count = None, 0
    for image in images:
        if on_status:
            on_status(f"receptive field, image {count + 1}")
        image = image.detach().clone().requires_grad_()
        row, column = (side // 2 * network.scale for side in image.shape[2:])
        output = network(image)[..., row : row + network.scale, column : column + network.scale].sum()
        (gradient,) = torch.autograd.grad(output, image)
        seen = gradient.abs().sum((0, 1)).double()
        total, count = seen if total is None else total + seen, count + 1
    if total is None:
        raise ValueError("images must not be empty")
    field = (total / total.max().clamp(min=torch.finfo(total.dtype).tiny)).cpu().numpy()
    return ReceptiveField(field, {share: _extent(field, share) for share in SHARES})


def _extent(field: np.ndarray, share: float) -> int:
    """Return the side of the smallest centered square that contains a share of the sum."""
    rows, columns = (np.abs(np.arange(side) - side // 2) for side in field.shape)
    distance = np.maximum(rows[:, None], columns)
    cumulated = np.cumsum(np.bincount(distance.ravel(), weights=field.ravel()))
    return 2 * int(np.searchsorted(cumulated, share * cumulated[-1] * (1 - 1e-12))) + 1
