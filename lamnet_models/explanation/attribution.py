"""Local attribution maps (LAM): contribution of input pixels to an output patch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..pictures import Box
from .view import Differentiable

SIGMA = 1.2
"""Standard deviation in pixels of the blur at the start of the path, the LAM paper's for ×4."""

STEPS = 20
"""Intervals of the integration path; the LAM paper uses 50, with a less accurate rule."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """A local attribution map.

    Attributes:
        map: Contribution of each input pixel to the patch, (H, W), at least 0, divided by the largest.
        diffusion: Diffusion index, (1 − Gini coefficient)·100: higher if more pixels contribute.
        patch: The output patch, in SR pixels.
        total: Sum of all signed contributions.
        change: Limit of ``total`` for infinitely many steps: gradient magnitude of the patch at the end of the path
            minus that at its start.
    """

    map: np.ndarray
    diffusion: float
    patch: Box
    total: float
    change: float


def attribution(
    model: nn.Module,
    image: Tensor,
    patch: Box | None = None,
    *,
    steps: int = STEPS,
    sigma: float = SIGMA,
    on_status: Callable[[str], None] | None = None,
) -> Attribution:
    """Attribute the structure of an output patch to input pixels, by path-integrated gradients.

    The attributed quantity is the sum of the gradient magnitude in the patch; the path goes from the blurred image to
    the image, with decreasing Gaussian blur.

    Source: Gu and Dong, "Interpreting Super-Resolution Networks with Local Attribution Maps" (2021), equations 5 to 8.

    Args:
        model: A network on (B, C, H, W) with attributes ``scale`` and ``in_chans``.
        image: (1, C, H, W) in [0, 1].
        patch: Patch of the SR image, at least 2 pixels per side; by default 16×16 pixels at the center.
        steps: Intervals of the path, at least 1.
        sigma: Standard deviation in pixels of the blur at the start of the path, above 0.
        on_status: Called with status lines.

    Raises:
        ValueError: If an argument is out of range.
    """
    network = Differentiable(model)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not sigma > 0:
        raise ValueError(f"sigma must be above 0, got {sigma}")
    height, width = (network.scale * side for side in image.shape[2:])
    if patch is None:
        side = min(16, height, width)
        patch = Box((width - side) // 2, (height - side) // 2, side, side)
    inside = (
        patch.left >= 0 and patch.top >= 0 and patch.left + patch.width <= width and patch.top + patch.height <= height
    )
    if not inside or min(patch.width, patch.height) < 2:
        raise ValueError(f"patch must be inside {width}×{height} and at least 2 pixels per side, got {patch}")
    path = [_blur(image, sigma * (1 - index / steps)) for index in range(steps + 1)]
    total = torch.zeros_like(image, dtype=torch.float64)
    for index in range(steps):
        if on_status:
            on_status(f"attribution, interval {index + 1} of {steps}")
        middle = ((path[index] + path[index + 1]) / 2).requires_grad_()
        (gradient,) = torch.autograd.grad(_structure(network(middle), patch), middle)
        total += gradient.double() * (path[index + 1] - path[index])
    with torch.no_grad():
        change = _structure(network(path[-1]), patch) - _structure(network(path[0]), patch)
    contributions = total.sum((0, 1)).abs().cpu().numpy()
    return Attribution(
        contributions / max(contributions.max(), np.finfo(float).tiny),
        100 * (1 - gini(contributions)),
        patch,
        total.sum().item(),
        change.item(),
    )


def gini(values: np.ndarray) -> float:
    """Return the Gini coefficient of nonnegative values: 0 if equal, near 1 if one dominates."""
    ordered = np.sort(values, axis=None).astype(np.float64)
    if ordered.sum() == 0:
        return 0.0
    ranks = np.arange(1, ordered.size + 1)
    return float((2 * ranks - ordered.size - 1) @ ordered / (ordered.size * ordered.sum()))


def _structure(output: Tensor, patch: Box) -> Tensor:
    """Return the sum of gradient magnitudes of the channel mean, the LAM paper's detector."""
    rows, columns = slice(patch.top, patch.top + patch.height), slice(patch.left, patch.left + patch.width)
    gray = output[..., rows, columns].mean(1).double()
    vertical, horizontal = gray.diff(dim=-2)[..., :-1], gray.diff(dim=-1)[..., :-1, :]
    return (vertical**2 + horizontal**2 + 1e-12).sqrt().sum()


def _blur(image: Tensor, sigma: float) -> Tensor:
    """Return an image blurred by a Gaussian with replicated edges; a copy for sigma 0."""
    if sigma < 1e-3:
        return image.clone()
    radius = max(1, int(np.ceil(4 * sigma)))
    offsets = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(image.shape[1], 1, 1, -1)
    padded = F.pad(image, (radius,) * 4, "replicate")
    blurred = F.conv2d(padded, kernel, groups=image.shape[1])
    return F.conv2d(blurred, kernel.mT, groups=image.shape[1])
