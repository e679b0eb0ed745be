"""Attribution maps and effective receptive fields of networks on a photograph."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..benchmarking import PEERS, open_network
from ..datasets.catalog import read_photo
from ..evaluation.methods import with_scale
from ..factory import resolve_model
from ..files import atomic_path
from ..pictures import Box
from .attribution import (
    MIN_SIDE,
    STEPS,
    Attribution,
    ReceptiveField,
    attribution,
    prepare_input,
    receptive_field,
    to_tensor,
)

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
        at: Column and row of its center, in the photograph's pixels; by default the region with most fine structure.
        downscale: Whether to downscale the photograph by the scale first, as in training.
        patch: Side in SR pixels of the attributed patch at the center of the output.
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
        name = type(network).__name__ if isinstance(model, nn.Module) else Path(model).name
        on_model_status = on_status and (lambda text, name=name: on_status(f"{name}: {text}"))
        image = prepare_input(pixels, network.scale, side, at, downscale)
        height, width = (network.scale * length for length in image.shape[:2])
        across, down = min(patch, width), min(patch, height)
        box = Box((width - across) // 2, (height - down) // 2, across, down)
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


def _random_crops(pixels: np.ndarray, network: nn.Module, downscale: bool, samples: int) -> list[Tensor]:
    """Return crops of a photograph at random positions with a fixed seed."""
    generator = np.random.default_rng(0)
    height, width = pixels.shape[:2]
    centers = [(int(generator.integers(width)), int(generator.integers(height))) for _ in range(samples)]
    factor = network.scale if downscale else 1
    centers = [(min(x, width // factor * factor - 1), min(y, height // factor * factor - 1)) for x, y in centers]
    return [
        to_tensor(prepare_input(pixels, network.scale, FIELD_SIDE, center, downscale), network) for center in centers
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
