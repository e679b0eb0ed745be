"""Figure 10: distributions of features after the two gates of DGFN."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamnet_layers import DGFN

from ..errors import ModelError
from ..explanation.view import prepare_input, to_tensor
from ..files import atomic_path
from .inside import capture_inputs, choose_layers, feed_forwards, open_lamnet
from .result import Reproduction, Table

SIDE = 96
"""Side in LR pixels of the network's input."""

_BINS = 81


def figure10(
    *,
    model: nn.Module | str | os.PathLike = "lamnet_x4",
    image: str | os.PathLike = "astronaut",
    layers: Sequence[int] | None = None,
    on_status: Callable[[str], None] | None = None,
) -> Reproduction:
    """Reproduce figure 10: feature distributions after the self-gate u·x1 and cross-gate u·x2.

    Args:
        model: A LAMNet whose feed-forward networks are DGFN.
        image: An image file or the name of a sample photograph; downscaled and cropped to the region with most fine
            structure.
        layers: Numbers of feed-forward networks, from 1; by default four from the first to the last.
        on_status: Called with status lines.

    Raises:
        ValueError: If a layer is out of range.
        LAMNetError: If the model or image is not found, or the model has other feed-forward networks.
    """
    network = open_lamnet(model)
    chosen = choose_layers(network, layers, 4)
    modules = [feed_forwards(network)[layer - 1] for layer in chosen]
    if not isinstance(modules[0], DGFN):
        raise ModelError(f"model must have DGFN feed-forward networks for figure 10, got {model}")
    crop = prepare_input(image, network.scale, SIDE)
    if on_status:
        on_status(f"running {model}")
    features = capture_inputs(network, modules, to_tensor(crop, network))
    gated = {layer: _gates(module, x) for layer, module, x in zip(chosen, modules, features, strict=True)}
    rows = [
        (layer, name, *_statistics(values))
        for layer, pair in gated.items()
        for name, values in zip(("self-gate", "cross-gate"), pair, strict=True)
    ]
    columns = ("layer", "gate", "mean", "standard deviation", "below 0", "within ±0.1σ", "kurtosis")
    model_name = type(model).__name__ if isinstance(model, nn.Module) else Path(model).name
    return Reproduction(
        "figure10",
        f"Figure 10: features after the gates of {model_name}",
        (Table("Distributions over all pixels and channels", columns, tuple(rows)),),
        (
            "The self-gate u·x1, u = GELU(x1), is 0 or more, up to rounding; the cross-gate u·x2 has both signs. "
            "Kurtosis is Fisher's, 0 for a normal distribution.",
        ),
        lambda path: _draw(path, gated),
    )


@torch.no_grad()
def _gates(module: DGFN, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    first, second = module.depthwise(module.proj_in(x)).chunk(2, dim=1)
    gate = F.gelu(first)
    return tuple((gate * half).flatten().double().numpy() for half in (first, second))


def _statistics(values: np.ndarray) -> tuple[float, ...]:
    centered = values - values.mean()
    variance = (centered**2).mean()
    kurtosis = (centered**4).mean() / variance**2 - 3 if variance > 0 else 0.0
    below, near = (values < 0).mean(), (np.abs(values) < 0.1 * variance**0.5).mean()
    return tuple(float(value) for value in (values.mean(), variance**0.5, below, near, kurtosis))


def _draw(path: str | os.PathLike, gated: dict[int, tuple[np.ndarray, np.ndarray]]) -> None:
    from matplotlib.figure import Figure  # pyplot would look for a display

    figure = Figure(figsize=(2.4 * len(gated) + 0.4, 2.8), layout="constrained")
    rows = figure.subplots(1, len(gated), squeeze=False)
    for axes, (layer, pair) in zip(rows[0], gated.items(), strict=True):
        low, high = np.quantile(np.concatenate(pair), (0.001, 0.999))
        edges = np.linspace(low, high, _BINS) if high > low else np.linspace(low - 1, low + 1, _BINS)
        for values, name, color in zip(
            pair, ("self-gate u·x1", "cross-gate u·x2"), ("#3f51b5", "#e0245e"), strict=True
        ):
            density, _ = np.histogram(values, edges, density=True)
            axes.stairs(density, edges, fill=True, alpha=0.45, color=color, label=name)
        axes.set_yscale("log")
        axes.set_title(f"layer {layer}", fontsize=9)
        axes.tick_params(labelsize=7)
    rows[0, 0].set_ylabel("density")
    rows[0, 0].legend(fontsize=7)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
