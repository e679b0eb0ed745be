"""Figure 9: the dynamic kernels of focal separable attention."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from lamnet_layers import FocalSeparableAttention

from ..errors import ModelError
from ..explanation.view import to_tensor, view
from ..files import atomic_path
from ..pictures import local_contrast
from .inside import choose_layers, inputs_of, mixers, open_lamnet
from .kernels import dynamic_kernels, rank, sparsity
from .result import Reproduction, Table

SIDE = 96
"""Side in pixels of the part of the image that the network is given."""


def figure9(
    *,
    model: nn.Module | str | os.PathLike = "lamnet_x4",
    image: str | os.PathLike = "astronaut",
    layers: Sequence[int] | None = None,
    groups: Sequence[int] | None = None,
    pixels: Sequence[tuple[int, int]] | None = None,
    say: Callable[[str], None] | None = None,
) -> Reproduction:
    """Reproduces figure 9: kernels that the attention predicts at some pixels, their rank and sparsity.

    Args:
        model: A LAMNet.
        image: An image file or the name of a sample photograph; it is reduced, and the part with most fine structure
            taken.
        layers: Numbers of token mixers, from 1; by default the first, the middle and the last.
        groups: Numbers of groups of channels, from 1; all if None.
        pixels: Columns and rows of that part; by default where it has most fine structure and where it has least.
        say: Called with what is being done.

    Raises:
        ValueError: If there is no such layer, group or pixel.
        LAMNetError: If there is no such model or image, or the model has no focal separable attention.
    """
    network = open_lamnet(model)
    chosen = choose_layers(network, layers, 3)
    attentions = [mixers(network)[layer - 1].spatial for layer in chosen]
    if not isinstance(attentions[0], FocalSeparableAttention):
        raise ModelError(f"{model} has no focal separable attention: figure 9 shows its kernels")
    heads = range(1, attentions[0].heads + 1)
    groups = list(heads) if groups is None else list(groups)
    for group in groups:
        if group not in heads:
            raise ValueError(f"groups has {group}, but it must be of 1 to {len(heads)}")
    part = view(image, network.scale, SIDE)
    places = _extremes(part, attentions[0].window.radius) if pixels is None else list(pixels)
    for column, row in places:
        if not (0 <= column < part.shape[1] and 0 <= row < part.shape[0]):
            raise ValueError(f"pixels has {column},{row}, but the image has {part.shape[1]}×{part.shape[0]}")
    if say:
        say(f"running {model}")
    features = inputs_of(network, attentions, to_tensor(part, network))
    lines, maps = [], {}
    for place in places:
        for layer, attention, x in zip(chosen, attentions, features, strict=True):
            outer, exact = (kernel.double().numpy() for kernel in dynamic_kernels(attention, x, place[1], place[0]))
            maps[place, layer] = outer, exact
            for group in groups:
                plain, true = outer[group - 1], exact[group - 1]
                lines.append(
                    (f"{place[0]},{place[1]}", layer, group, rank(plain), rank(true), sparsity(plain), sparsity(true))
                )
    columns = ("pixel", "layer", "group", "rank, product", "rank, exact", "sparsity, product", "sparsity, exact")
    return Reproduction(
        "figure9",
        f"Figure 9: dynamic kernels of {_name(model)}",
        (Table("Rank (singular values above 1% of the largest) and Hoyer's sparsity (0 to 1)", columns, tuple(lines)),),
        (
            "The outer product of a pixel's vertical and horizontal weights, which the paper shows, has rank 1. The "
            "kernel that the two passes apply together is another, of higher rank: the vertical pass reads rows that "
            "were made with their own horizontal weights.",
        ),
        lambda path: _draw(path, part, places, chosen, groups, maps),
    )


def _name(model: nn.Module | str | os.PathLike) -> str:
    return type(model).__name__ if isinstance(model, nn.Module) else Path(model).name


def _extremes(part: np.ndarray, radius: int) -> list[tuple[int, int]]:
    """Returns the pixels around which there is most and least fine structure, where the window lies inside."""
    structure = local_contrast(part)
    sums = np.lib.stride_tricks.sliding_window_view(structure, (5, 5)).sum((2, 3))
    margin = min(radius, (min(part.shape[:2]) - 5) // 2)
    inner = (
        sums[margin - 2 : sums.shape[0] - margin + 2, margin - 2 : sums.shape[1] - margin + 2] if margin > 2 else sums
    )
    offset = max(margin - 2, 0) + 2
    found = []
    for index in (inner.argmax(), inner.argmin()):
        row, column = np.unravel_index(index, inner.shape)
        found.append((int(column) + offset, int(row) + offset))
    return found


def _draw(
    path: str | os.PathLike,
    part: np.ndarray,
    places: list[tuple[int, int]],
    layers: list[int],
    groups: list[int],
    maps: dict[tuple[tuple[int, int], int], tuple[np.ndarray, np.ndarray]],
) -> None:
    from matplotlib.figure import Figure  # without pyplot, which would look for a screen

    count = len(groups)
    figure = Figure(figsize=(1.1 + 1.05 * 2 * count, 0.3 + 1.2 * len(maps)), layout="constrained")
    rows = figure.subplots(len(maps), 1 + 2 * count, squeeze=False)
    for line, ((column, row), layer) in zip(
        rows, [(place, layer) for place in places for layer in layers], strict=True
    ):
        line[0].imshow(part)
        line[0].plot(column, row, "+", color="#e0245e", markersize=9, markeredgewidth=2)
        line[0].set_title(f"layer {layer}", fontsize=7)
        for kind, kernels in enumerate(maps[(column, row), layer]):
            for index, group in enumerate(groups):
                kernel = kernels[group - 1]
                largest = np.abs(kernel).max() or 1
                axes = line[1 + kind * count + index]
                axes.imshow(kernel, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")
                axes.set_title(f"{('product', 'exact')[kind]}, group {group}", fontsize=7)
    for axes in rows.flat:
        axes.set_axis_off()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=90)
