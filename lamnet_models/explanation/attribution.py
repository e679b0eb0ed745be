"""Local attribution maps: which input pixels an output patch is made from."""

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
"""Width in pixels of the blur at the path's beginning, the LAM paper's for ×4."""

STEPS = 20
"""Points of the path; the LAM paper takes 50, with a rule of integration that is less exact."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """A local attribution map.

    Attributes:
        map: Contribution of each input pixel to the patch, (H, W), at least 0, divided by the largest.
        diffusion: Diffusion index, (1 − Gini coefficient)·100: the higher, the more pixels take part.
        patch: The output patch, in pixels of the enlarged image.
        total: Sum of all contributions with their signs.
        change: What they add up to with infinitely many steps: how much more structure the patch has at the path's end
            than at its beginning.
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
    """Attributes the structure in a patch of the output to pixels of the input, by integrated gradients.

    What is attributed is the sum of the gradient's magnitude in the patch; the path leads from the blurred image, which
    has no detail, to the image, along ever narrower Gaussian blurs.

    Source: Gu and Dong, "Interpreting Super-Resolution Networks with Local Attribution Maps" (2021), equations 5 to 8.

    Args:
        model: A network on (B, C, H, W) with attributes ``scale`` and ``in_chans``.
        image: (1, C, H, W) in [0, 1].
        patch: Part of the enlarged image, at least 2 pixels a side; by default 16 pixels a side at its centre.
        steps: Points on the path, at least 1.
        sigma: Standard deviation of the blur at the path's beginning, in pixels, above 0.
        on_status: Called with what is being done.

    Raises:
        ValueError: If an argument is out of its range.
    """
    network = Differentiable(model)
    if steps < 1:
        raise ValueError(f"steps is {steps}, but it must be at least 1")
    if not sigma > 0:
        raise ValueError(f"sigma is {sigma}, but it must be above 0")
    height, width = (network.scale * side for side in image.shape[2:])
    if patch is None:
        side = min(16, height, width)
        patch = Box((width - side) // 2, (height - side) // 2, side, side)
    inside = (
        patch.left >= 0 and patch.top >= 0 and patch.left + patch.width <= width and patch.top + patch.height <= height
    )
    if not inside or min(patch.width, patch.height) < 2:
        raise ValueError(f"patch is {patch}, but it must be a part of {width}×{height}, at least 2 pixels a side")
    path = [_blur(image, sigma * (1 - step / steps)) for step in range(steps + 1)]
    total = torch.zeros_like(image, dtype=torch.float64)
    for step in range(steps):
        if on_status:
            on_status(f"attribution, step {step + 1} of {steps}")
        middle = ((path[step] + path[step + 1]) / 2).requires_grad_()
        (gradient,) = torch.autograd.grad(_structure(network(middle), patch), middle)
        total += gradient.double() * (path[step + 1] - path[step])
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
    """Returns the Gini coefficient of values of at least 0: 0 where all are equal, near 1 where one has everything."""
    ordered = np.sort(values, axis=None).astype(np.float64)
    if ordered.sum() == 0:
        return 0.0
    ranks = np.arange(1, ordered.size + 1)
    return float((2 * ranks - ordered.size - 1) @ ordered / (ordered.size * ordered.sum()))


def _structure(output: Tensor, patch: Box) -> Tensor:
    """Returns the sum of the magnitude of the luma's gradient in a patch: the detector of the LAM paper."""
    rows, columns = slice(patch.top, patch.top + patch.height), slice(patch.left, patch.left + patch.width)
    gray = output[..., rows, columns].mean(1).double()
    vertical, horizontal = gray.diff(dim=-2)[..., :-1], gray.diff(dim=-1)[..., :-1, :]
    return (vertical**2 + horizontal**2 + 1e-12).sqrt().sum()


def _blur(image: Tensor, sigma: float) -> Tensor:
    """Returns an image blurred by a Gaussian of a width, edges replicated; itself for the width 0."""
    if sigma < 1e-3:
        return image.clone()
    radius = max(1, int(np.ceil(4 * sigma)))
    offsets = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(image.shape[1], 1, 1, -1)
    padded = F.pad(image, (radius,) * 4, "replicate")
    blurred = F.conv2d(padded, kernel, groups=image.shape[1])
    return F.conv2d(blurred, kernel.mT, groups=image.shape[1])
