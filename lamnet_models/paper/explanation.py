"""Attribution maps and effective receptive fields of networks."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..benchmarking import PEERS, open_network
from ..data.catalog import read_photo
from ..errors import ImageError, ModelError
from ..evaluation.predictors import with_scale
from ..factory import resolve_model
from ..filesystem import atomic_path
from ..image_io.grids import Box, best_box, local_contrast
from ..names import display_name
from ..resize import imresize

MIN_SIDE = 16
"""Minimum width and height in pixels of an input."""


def prepare_input(
    photo: str | os.PathLike | np.ndarray,
    scale: int,
    side: int,
    at: tuple[int, int] | None = None,
    downscale: bool = True,
) -> tuple[np.ndarray, Box]:
    """Crop a photograph and downscale it to a network's input.

    Args:
        photo: An image file, the name of a sample photograph, or (H, W, 3) uint8.
        scale: The network's scale factor.
        side: Width and height in pixels of the input, limited by the photograph.
        at: Column and row of its center, in the photograph's pixels, as far as the borders permit; by default the
            region with most fine structure.
        downscale: Whether to downscale the photograph by ``scale`` first, as in training.

    Returns:
        The input, (H, W, 3) uint8, and the part of the photograph that it shows.

    Raises:
        ImageError: If the photograph cannot be read, or has less than 16×16 pixels after downscaling.
        ValueError: If ``at`` is outside.
    """
    image = photo if isinstance(photo, np.ndarray) else read_photo(photo)
    factor = scale if downscale else 1
    if min(image.shape[:2]) // factor < MIN_SIDE:
        minimum = MIN_SIDE * factor
        raise ImageError(f"image must have at least {minimum}×{minimum} pixels, got {image.shape[1]}×{image.shape[0]}")
    height, width = (length // factor * factor for length in image.shape[:2])
    image = image[:height, :width]
    size = min(side * factor, width), min(side * factor, height)
    if at is None:
        box = best_box(local_contrast(image), side * factor)
        left, top = box.left, box.top
    elif not (0 <= at[0] < width and 0 <= at[1] < height):
        raise ValueError(f"at must be inside the image of {width}×{height} pixels, got {at[0]},{at[1]}")
    else:
        left, top = at[0] - size[0] // 2, at[1] - size[1] // 2
    left = min(max(left, 0), width - size[0]) // factor * factor
    top = min(max(top, 0), height - size[1]) // factor * factor
    box = Box(left, top, *size)
    crop = np.ascontiguousarray(box.crop(image))
    return imresize(crop, 1 / scale) if downscale else crop, box


def to_tensor(pixels: np.ndarray, model: nn.Module) -> Tensor:
    """Convert pixels to a network's input, (1, C, H, W) in [0, 1]; gray for one channel.

    The tensor is float32, on the device of the network.

    Raises:
        ModelError: If the network has neither 1 nor 3 input channels.
    """
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    if model.in_chans == 1:
        image = image.mean(1, keepdim=True)
    elif model.in_chans != 3:
        raise ModelError(f"in_chans of the network must be 1 or 3, got {model.in_chans}")
    parameter = next(model.parameters(), image)
    return image.to(parameter.device, torch.float32)


class Differentiable(nn.Module):
    """Differentiable copy of any network.

    Models loaded by spandrel run without gradients, so the network inside is called, with inputs padded to the sizes it
    requires. The original network is unchanged.

    Args:
        model: A network on (B, C, H, W) with attributes ``scale`` and ``in_chans``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.scale, self.in_chans = model.scale, model.in_chans
        descriptor = getattr(model, "descriptor", None)  # of a spandrel model
        self.model = copy.deepcopy(model if descriptor is None else model.network)
        requirements = descriptor and descriptor.size_requirements
        self.multiple = requirements.multiple_of if requirements else 1
        self.minimum = requirements.minimum if requirements else 1
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the SR images, (B, C, r·H, r·W)."""
        height, width = x.shape[2:]
        pads = [max(-side % self.multiple, self.minimum - side) for side in (width, height)]
        if any(pads):
            x = F.pad(x, (0, pads[0], 0, pads[1]), "replicate")
        return self.model(x)[..., : self.scale * height, : self.scale * width]


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


FIELD_SIDE = 96
"""Side in LR pixels of the images on which receptive fields are measured."""


@dataclass(frozen=True, eq=False)
class NetworkExplanation:
    """Explanation of one network.

    Attributes:
        model: Name of the network.
        scale: Scale factor.
        trained: Whether it has trained weights; peer networks by name have random ones.
        image: LR image, (H, W, 3) uint8.
        attribution: Attribution of an SR patch to LR pixels.
        field: Effective receptive field.
    """

    model: str
    scale: int
    trained: bool
    image: np.ndarray
    attribution: Attribution
    field: ReceptiveField

    def to_dict(self) -> dict[str, Any]:
        """Return the results as JSON-serializable values, without maps."""
        return {
            "model": self.model,
            "scale": self.scale,
            "trained": self.trained,
            "patch": vars(self.attribution.patch),
            "diffusion_index": self.attribution.diffusion,
            "receptive_field_extent": {f"{share:.0%}": side for share, side in self.field.extent.items()},
        }


@dataclass(frozen=True, eq=False)
class Explanation:
    """Explanations of networks on one photograph.

    Attributes:
        networks: One explanation per network.
    """

    networks: tuple[NetworkExplanation, ...]

    def draw(self, path: str | os.PathLike) -> None:
        """Write a figure with one row per network.

        Args:
            path: File to write, ``.png``, ``.svg`` or ``.pdf``.
        """
        from matplotlib.figure import Figure  # pyplot would look for a display

        figure = Figure(figsize=(9.6, 0.2 + 2.7 * len(self.networks)), layout="constrained")
        rows = figure.subplots(len(self.networks), 4, squeeze=False)
        for axes, network in zip(rows, self.networks, strict=True):
            _draw_row(axes, network)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=100)


def explain(
    photo: str | os.PathLike | np.ndarray = "astronaut",
    models: Sequence[nn.Module | str | os.PathLike] = ("lamnet_x4",),
    *,
    scale: int = 4,
    side: int = 64,
    at: tuple[int, int] | None = None,
    downscale: bool = True,
    patch: int = 16,
    steps: int = STEPS,
    samples: int = 4,
    on_status: Callable[[str], None] | None = None,
) -> Explanation:
    """Compute attribution maps, diffusion indices and effective receptive fields of networks.

    Args:
        photo: An image file, the name of a sample photograph, or (H, W, 3) uint8.
        models: Networks, model names, checkpoint files in our format or any that spandrel reads, and names of peer
            networks, which have random weights.
        scale: Scale factor of networks without attribute ``scale``.
        side: Width and height in LR pixels of the input for the attribution.
        at: Column and row of the photograph's pixel to explain; by default the center of the region with most fine
            structure.
        downscale: Whether to downscale the photograph by the scale first, as in training.
        patch: Side in SR pixels of the attributed patch around this pixel.
        steps: Intervals of the integration path.
        samples: Number of crops over which the receptive field is averaged.
        on_status: Called with status lines.

    Raises:
        ValueError: If an argument is out of range.
        ImageError: If the photograph cannot be read or is too small.
        LAMNetError: If a model is not found.
    """
    for name, value, least in (("side", side, MIN_SIDE), ("patch", patch, 2), ("samples", samples, 1)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if not models:
        raise ValueError("models must not be empty")
    pixels = photo if isinstance(photo, np.ndarray) else read_photo(photo)
    explained = []
    for model in models:
        trained = not (isinstance(model, str) and model in PEERS)
        network = with_scale(resolve_model(model) if trained else open_network(model, scale), scale)
        name = type(network).__name__ if isinstance(model, nn.Module) else display_name(model)
        on_model_status = on_status and (lambda text, name=name: on_status(f"{name}: {text}"))
        image, region = prepare_input(pixels, network.scale, side, at, downscale)
        box = _patch(region, at, patch, 1 if downscale else network.scale)
        explained.append(
            NetworkExplanation(
                name,
                network.scale,
                trained,
                image,
                attribution(network, to_tensor(image, network), box, steps=steps, on_status=on_model_status),
                receptive_field(network, _random_crops(pixels, network, downscale, samples), on_model_status),
            )
        )
    return Explanation(tuple(explained))


def _patch(region: Box, at: tuple[int, int] | None, side: int, ratio: int) -> Box:
    """Return the patch around a pixel of a photograph, or its region's center, in SR pixels of the region.

    Args:
        region: Part of the photograph that the network sees.
        at: Column and row of the pixel in the photograph; None: the center of the region.
        side: Width and height in SR pixels of the patch, limited by the region.
        ratio: SR pixels per pixel of the photograph.
    """
    column, row = at or (region.left + region.width // 2, region.top + region.height // 2)
    width, height = min(side, ratio * region.width), min(side, ratio * region.height)
    left = ratio * (column - region.left) + (ratio - width) // 2
    top = ratio * (row - region.top) + (ratio - height) // 2
    left = min(max(left, 0), ratio * region.width - width)
    top = min(max(top, 0), ratio * region.height - height)
    return Box(left, top, width, height)


def _random_crops(pixels: np.ndarray, network: nn.Module, downscale: bool, samples: int) -> list[Tensor]:
    """Return crops of a photograph at random positions with a fixed seed."""
    generator = np.random.default_rng(0)
    height, width = pixels.shape[:2]
    centers = [(int(generator.integers(width)), int(generator.integers(height))) for _ in range(samples)]
    factor = network.scale if downscale else 1
    centers = [(min(x, width // factor * factor - 1), min(y, height // factor * factor - 1)) for x, y in centers]
    return [
        to_tensor(prepare_input(pixels, network.scale, FIELD_SIDE, center, downscale)[0], network) for center in centers
    ]


def _draw_row(axes: Sequence[Any], network: NetworkExplanation) -> None:
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    result, box, scale = network.attribution, network.attribution.patch, network.scale
    gray = network.image.mean(2) / 255
    heat = np.sqrt(result.map)[..., None]  # makes small contributions visible
    overlay = (1 - heat) * gray[..., None] * 0.85 + heat * np.array([0.86, 0.08, 0.24])
    axes[0].imshow(network.image, interpolation="nearest")
    axes[1].imshow(overlay, interpolation="nearest")
    for panel in axes[:2]:
        corner = box.left / scale - 0.5, box.top / scale - 0.5
        panel.add_patch(Rectangle(corner, box.width / scale, box.height / scale, fill=False, color="#e0245e"))
    axes[2].imshow(result.map, norm=LogNorm(1e-3, 1, clip=True), cmap="magma", interpolation="nearest")
    axes[3].imshow(network.field.map, norm=LogNorm(1e-4, 1, clip=True), cmap="viridis", interpolation="nearest")
    extents = ", ".join(f"{share:.0%}: {side}" for share, side in network.field.extent.items())
    weights = "" if network.trained else ", random weights"
    titles = (
        f"{network.model}{weights}\ninput and patch",
        f"attribution\ndiffusion index {result.diffusion:.1f}",
        "attribution, log scale\n10⁻³ to 1",
        f"receptive field, log scale\n{extents} px",
    )
    for panel, title in zip(axes, titles, strict=True):
        panel.set_title(title, fontsize=8)
        panel.set_axis_off()
