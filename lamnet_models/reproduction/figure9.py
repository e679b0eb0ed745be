"""Figure 9: dynamic kernels of focal separable attention."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from lamnet_layers import FocalSeparableAttention

from ..errors import ModelError
from ..explanation.view import prepare_input, to_tensor
from ..files import atomic_path
from ..pictures import local_contrast
from .inside import capture_inputs, choose_layers, mixers, open_lamnet
from .kernels import dynamic_kernels, rank, sparsity
from .result import Reproduction, Table

SIDE = 96
"""Side in LR pixels of the network's input."""


def figure9(
    *,
    model: nn.Module | str | os.PathLike = "lamnet_x4",
    image: str | os.PathLike = "astronaut",
    layers: Sequence[int] | None = None,
    groups: Sequence[int] | None = None,
    pixels: Sequence[tuple[int, int]] | None = None,
    on_status: Callable[[str], None] | None = None,
) -> Reproduction:
    """Reproduce figure 9: predicted kernels at selected pixels, with rank and sparsity.

    Args:
        model: A LAMNet.
        image: An image file or the name of a sample photograph; downscaled and cropped to the region with most fine
            structure.
        layers: Numbers of token mixers, from 1; by default the first, the middle and the last.
        groups: Numbers of channel groups, from 1; all if None.
        pixels: (column, row) pairs in the crop; by default the pixels with most and least fine structure.
        on_status: Called with status lines.

    Raises:
        ValueError: If a layer, group or pixel is out of range.
        LAMNetError: If the model or image is not found, or the model has no focal separable attention.
    """
    network = open_lamnet(model)
    chosen = choose_layers(network, layers, 3)
    attentions = [mixers(network)[layer - 1].spatial for layer in chosen]
    if not isinstance(attentions[0], FocalSeparableAttention):
        raise ModelError(f"model must have focal separable attention for figure 9, got {model}")
    heads = range(1, attentions[0].num_heads + 1)
    groups = list(heads) if groups is None else list(groups)
    for group in groups:
        if group not in heads:
            raise ValueError(f"groups must be from 1 to {len(heads)}, got {group}")
    crop = prepare_input(image, network.scale, SIDE)
    pixels = _extremes(crop, attentions[0].window.radius) if pixels is None else list(pixels)
    for column, row in pixels:
        if not (0 <= column < crop.shape[1] and 0 <= row < crop.shape[0]):
            raise ValueError(f"pixels must be inside {crop.shape[1]}×{crop.shape[0]}, got {column},{row}")
    if on_status:
        on_status(f"running {model}")
    features = capture_inputs(network, attentions, to_tensor(crop, network))
    lines, maps = [], {}
    for pixel in pixels:
        for layer, attention, x in zip(chosen, attentions, features, strict=True):
            products, exacts = (kernel.double().numpy() for kernel in dynamic_kernels(attention, x, pixel[1], pixel[0]))
            maps[pixel, layer] = products, exacts
            for group in groups:
                product, exact = products[group - 1], exacts[group - 1]
                lines.append(
                    (
                        f"{pixel[0]},{pixel[1]}",
                        layer,
                        group,
                        rank(product),
                        rank(exact),
                        sparsity(product),
                        sparsity(exact),
                    )
                )
    columns = ("pixel", "layer", "group", "rank, product", "rank, exact", "sparsity, product", "sparsity, exact")
    return Reproduction(
        "figure9",
        f"Figure 9: dynamic kernels of {_name(model)}",
        (Table("Rank (singular values above 1% of the largest) and Hoyer's sparsity (0 to 1)", columns, tuple(lines)),),
        (
            "The paper shows the outer product of a pixel's vertical and horizontal weights, which has rank 1. The "
            "exact kernel of the two passes has a higher rank: the vertical pass reads rows filtered with their own "
            "horizontal weights.",
        ),
        lambda path: _draw(path, crop, pixels, chosen, groups, maps),
    )


def _name(model: nn.Module | str | os.PathLike) -> str:
    return type(model).__name__ if isinstance(model, nn.Module) else Path(model).name


def _extremes(image: np.ndarray, radius: int) -> list[tuple[int, int]]:
    """Return the pixels with most and least fine structure whose window is inside the image."""
    structure = local_contrast(image)
    sums = np.lib.stride_tricks.sliding_window_view(structure, (5, 5)).sum((2, 3))
    margin = min(radius, (min(image.shape[:2]) - 5) // 2)
    inner = (
        sums[margin - 2 : sums.shape[0] - margin + 2, margin - 2 : sums.shape[1] - margin + 2] if margin > 2 else sums
    )
    offset = max(margin - 2, 0) + 2
    pixels = []
    for index in (inner.argmax(), inner.argmin()):
        row, column = np.unravel_index(index, inner.shape)
        pixels.append((int(column) + offset, int(row) + offset))
    return pixels


def _draw(
    path: str | os.PathLike,
    image: np.ndarray,
    pixels: list[tuple[int, int]],
    layers: list[int],
    groups: list[int],
    maps: dict[tuple[tuple[int, int], int], tuple[np.ndarray, np.ndarray]],
) -> None:
    from matplotlib.figure import Figure  # pyplot would look for a display

    count = len(groups)
    figure = Figure(figsize=(1.1 + 1.05 * 2 * count, 0.3 + 1.2 * len(maps)), layout="constrained")
    rows = figure.subplots(len(maps), 1 + 2 * count, squeeze=False)
    for line, ((column, row), layer) in zip(
        rows, [(pixel, layer) for pixel in pixels for layer in layers], strict=True
    ):
        line[0].imshow(image)
        line[0].plot(column, row, "+", color="#e0245e", markersize=9, markeredgewidth=2)
        line[0].set_title(f"layer {layer}", fontsize=7)
        for position, (name, kernels) in enumerate(zip(("product", "exact"), maps[(column, row), layer], strict=True)):
            for index, group in enumerate(groups):
                kernel = kernels[group - 1]
                largest = np.abs(kernel).max() or 1
                axes = line[1 + position * count + index]
                axes.imshow(kernel, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")
                axes.set_title(f"{name}, group {group}", fontsize=7)
    for axes in rows.flat:
        axes.set_axis_off()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=90)
