"""Figures 5 to 10: details, latency, convergence, window size, kernels, gates."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from lamnet_layers import DGFN, FocalSeparableAttention

from ..benchmarking import PEERS, WINDOW_SIDES, bench, draw_chart, draw_windows, measure_windows
from ..benchmarking.peers import has_spandrel
from ..data import KNOWN_DATASETS, open_dataset
from ..errors import DatasetError, ModelError, quantity
from ..evaluation import compare, evaluate
from ..evaluation.compare import Detail
from ..evaluation.results import BENCHMARKS, published_table3
from ..filesystem import atomic_path
from ..image_io import Picture, write_image
from ..image_io.grids import Box, local_contrast
from ..names import FAMILIES, default_model_for_scale, display_name, find_variant
from ..training.callbacks import plot, read_run
from .ablations import Budget, train_variants
from .explanation import prepare_input, to_tensor
from .kernels import capture_inputs, choose_layers, dynamic_kernels, feed_forwards, mixers, open_lamnet, rank, sparsity
from .reproduction import Reproduction, Table, check_scales
from .tables import VARIANTS

# Figure 5


def figure5(
    *,
    models: Sequence[str | os.PathLike] | None = None,
    scale: int = 4,
    dataset: str | None = None,
    data: str | os.PathLike | None = None,
    details: int | Sequence[tuple[str, tuple[int, int, int, int]]] = 2,
    limit: int | None = None,
    on_status: Callable[[str], None] | None = None,
) -> Reproduction:
    """Reproduce figure 5: crops of bicubic interpolation, networks and HR, with their PSNR.

    Args:
        models: Model names, and checkpoint files in our format or any that spandrel reads; by default the package's two
            for the scale.
        scale: Scale factor, 2, 3 or 4.
        dataset: Dataset of the images; by default the first available of Urban100, Set14 and the sample photographs.
        data: Dataset root.
        details: Number of crops to choose, or pairs of an image's name and left, top, width and height in pixels.
        limit: Number of images to use, from the first; None for all.
        on_status: Called with status lines.

    Raises:
        ValueError: If the scale is not in the paper, or the models have different scales.
        LAMNetError: If a model, dataset or image is not found.
    """
    check_scales(scale)
    networks = [find_variant(scale, num_blocks) for num_blocks in FAMILIES.values()] if models is None else list(models)
    crops = details if isinstance(details, int) else [Detail(name, Box(*box)) for name, box in details]
    result = compare(
        ["bicubic", *networks],
        dataset or _first_available(scale, data),
        None if networks else scale,
        data,
        details=crops,
        side=48,
        limit=limit,
        on_image=on_status and (lambda image: on_status(f"{image.model}, image {image.done} of {image.total}")),
    )
    first = result.evaluations[0]
    rows = tuple((each.model, f"{each.psnr:.2f}", f"{each.ssim:.4f}") for each in result.evaluations)
    locations = "; ".join(
        f"{each.image} at {each.box.left},{each.box.top},{each.box.width},{each.box.height}" for each in result.details
    )
    return Reproduction(
        "figure5",
        f"Figure 5: details at ×{first.scale}",
        (
            Table(
                f"All of {first.dataset} ×{first.scale}, {quantity(len(first.images), 'image')}",
                ("method", "PSNR", "SSIM"),
                rows,
                (f"Details: {locations}." if locations else "No details.",),
            ),
        ),
        ("The paper shows images of Urban100 and peer networks with their authors' weights; pass these as files.",),
        None if result.picture is None else lambda path: _write_comparison(path, result.picture),
    )


def _first_available(scale: int, data: str | os.PathLike | None) -> str:
    for name in ("urban100", "set14"):
        try:
            open_dataset(name, scale, data)
        except DatasetError:
            continue
        return name
    return "sample"


def _write_comparison(path: str | os.PathLike, picture: Picture) -> None:
    """Write a picture; for SVG, as an embedded PNG."""
    if Path(path).suffix != ".svg":
        write_image(path, picture)
        return
    buffer = BytesIO()
    Image.fromarray(picture.pixels).save(buffer, "PNG", optimize=True)
    size = f'width="{picture.width}" height="{picture.height}"'
    pixels = base64.b64encode(buffer.getvalue()).decode()
    with atomic_path(path) as temporary:
        image = f'<image {size} href="data:image/png;base64,{pixels}"/>'
        temporary.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{image}</svg>\n', encoding="utf-8")


# Figure 6


def figure6(
    *,
    scale: int = 4,
    dataset: str = "set5",
    data: str | os.PathLike | None = None,
    size: tuple[int, int] | None = None,
    rounds: int = 3,
    limit: int | None = None,
    on_status: Callable[[str], None] | None = None,
) -> Reproduction:
    """Reproduce figure 6: PSNR over latency; the area of a bubble is the number of parameters.

    Args:
        scale: Scale factor, 2, 3 or 4.
        dataset: A dataset of the paper's table 3; if it is not available, all PSNR are the paper's.
        data: Dataset root.
        size: Width and height of the LR image; 1280×720 divided by ``scale`` if None.
        rounds: Number of interleaved measurements of each network.
        limit: Number of images to evaluate, from the first; None for all.
        on_status: Called with status lines.

    Returns:
        Measured times; PSNR of LAMNet models, measured if the dataset is available, and the paper's; PSNR of peer
        networks, the paper's only.

    Raises:
        ValueError: If an argument is out of range.
        LAMNetError: If a network cannot be measured.
    """
    rows = {row.key: row for row in published_table3() if row.scale == scale and (row.name or row.key in PEERS)}
    if not rows or dataset not in BENCHMARKS:
        raise ValueError(
            f"dataset and scale must be in the paper's table 3, got {dataset} at ×{scale}: use scale 2, 3 or 4 and one "
            f"of {', '.join(BENCHMARKS)}"
        )
    names = [name for name in rows if name not in PEERS or has_spandrel()]
    printed = {name: rows[name].scores[dataset][0] for name in names}
    measured = _measure_psnr([name for name in names if name not in PEERS], dataset, scale, data, limit, on_status)
    times = bench(names, scale=scale, size=size, rounds=rounds, on_status=on_status)
    ours = times[names.index(default_model_for_scale(scale))]
    quality = printed | measured
    lines = tuple(
        (
            result.name,
            f"{1000 * result.median:.0f}",
            f"{result.ratio(ours):.2f}",
            f"{measured[result.name]:.2f}" if result.name in measured else None,
            f"{printed[result.name]:.2f}",
        )
        for result in times
    )
    title = KNOWN_DATASETS[dataset].title
    columns = ("network", "ms", "ratio to LAMNet's", f"PSNR on {title}", "paper's")
    return Reproduction(
        "figure6",
        f"Figure 6: PSNR on {title} over latency at ×{scale}",
        (
            Table(
                f"Median of {rounds} rounds in turn, eager, float32, on this machine" + _limit_note(limit),
                columns,
                lines,
            ),
        ),
        (
            "The figure shows the measured PSNR of the packaged weights if available, otherwise the paper's, whose "
            "weights were trained far longer: compare bubbles of the two kinds by time only.",
        ),
        lambda path: draw_chart(times, path, scale, quality),
    )


def _measure_psnr(
    names: Sequence[str],
    dataset: str,
    scale: int,
    data: str | os.PathLike | None,
    limit: int | None,
    on_status: Callable[[str], None] | None,
) -> dict[str, float]:
    try:
        opened = open_dataset(dataset, scale, data)
    except DatasetError:
        return {}
    measured = {}
    for name in names:
        if on_status:
            on_status(f"{name} on {dataset}")
        measured[name] = evaluate(name, opened, scale, limit=limit).psnr
    return measured


def _limit_note(limit: int | None) -> str:
    return f"; PSNR on the first {quantity(limit, 'image')} only" if limit else ""


# Figure 7

_SMALL_MODEL = {"embed_dim": 32, "num_blocks": 1, "depth": 4}
_SHOWN_VARIANTS = ("full", "FSA → MHDLSA", "DGFN → GDFN")


def figure7(
    *,
    runs: Sequence[str | os.PathLike] = (),
    train: Budget | str = "300",
    train_data: Sequence[str] = ("sample",),
    folder: str | os.PathLike = "runs/figure7",
    on_status: Callable[[str], None] | None = None,
) -> Reproduction:
    """Reproduce figure 7: PSNR over training steps, from the logs of runs.

    Args:
        runs: Run folders; if empty, three variants of a small model are trained.
        train: Budget of each of these, such as ``"300"`` steps or ``"5m"``.
        train_data: Folders of images or names of datasets to train them on.
        folder: Parent of their run folders; existing runs are resumed, finished ones kept.
        on_status: Called with status lines.

    Raises:
        ValueError: If the budget is invalid.
        LAMNetError: If a folder contains no run, or the training fails.
    """
    budget, notes = Budget.parse(train), ()
    if not runs:
        small = {name: _without_widths(VARIANTS[name]) for name in _SHOWN_VARIANTS}
        trained = train_variants(small, budget, train_data, Path(folder), on_status, model_args=_SMALL_MODEL, patch=24)
        runs = [result.folder for result in trained.values()]
        notes = (
            f"{budget} of training a model of {_SMALL_MODEL['embed_dim']} channels and {_SMALL_MODEL['depth']} mixers "
            f"on {', '.join(train_data)}: the start of training only; the paper shows 500,000 steps of the full "
            "models.",
        )
    rows = []
    for run in runs:
        validations = read_run(run)["validation"]
        best = max((line["psnr"] for line in validations), default=None)
        last = validations[-1] if validations else {}
        psnr = [None if value is None else f"{value:.2f}" for value in (best, last.get("psnr"))]
        rows.append((Path(run).name, last.get("step"), *psnr, last.get("dataset", "–")))
    columns = ("run", "step", "best PSNR", "last PSNR", "validated on")
    return Reproduction(
        "figure7",
        "Figure 7: convergence",
        (Table("Runs", columns, tuple(rows)),),
        notes,
        lambda path: plot(runs, path),
    )


def _without_widths(arguments: dict) -> dict:
    """Return a variant's arguments without widths and groups, which the small model sets itself."""
    return {key: value for key, value in arguments.items() if key not in ("num_heads", "hidden_dim")}


# Figure 8


def figure8(
    *,
    sides: Sequence[int] = WINDOW_SIDES,
    size: tuple[int, int] = (320, 180),
    rounds: int = 3,
    on_status: Callable[[str], None] | None = None,
) -> Reproduction:
    """Reproduce figure 8: time and operations of token mixers over the window side.

    Args:
        sides: Window sides in pixels, odd.
        size: Width and height of the features.
        rounds: Number of interleaved measurements of each mixer.
        on_status: Called with status lines.

    Raises:
        ValueError: If an argument is out of range.
    """
    results = measure_windows(sides, size=size, rounds=rounds, on_status=on_status)
    rows = tuple(
        (result.mixer, result.side, f"{1000 * result.median:.1f}", f"{result.operations / 1e9:.2f}G")
        for result in results
    )
    return Reproduction(
        "figure8",
        "Figure 8: time and operations over the window side",
        (Table(f"Features of {size[0]}×{size[1]}, 64 channels", ("mixer", "side", "ms", "operations"), rows),),
        (
            "focal: focal separable attention; separable: the same with one tap per pixel; window: window "
            "self-attention. Operations are multiply-accumulates, plus one per element of other arithmetic. Times were "
            "measured on other hardware than the paper's: compare only their order and growth.",
        ),
        lambda path: draw_windows(results, path),
    )


# Figures 9 and 10

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
    crop, _ = prepare_input(image, network.scale, SIDE)
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
        f"Figure 9: dynamic kernels of {_model_name(model)}",
        (Table("Rank (singular values above 1% of the largest) and Hoyer's sparsity (0 to 1)", columns, tuple(lines)),),
        (
            "The paper shows the outer product of a pixel's vertical and horizontal weights, which has rank 1. The "
            "exact kernel of the two passes has a higher rank: the vertical pass reads rows filtered with their own "
            "horizontal weights.",
        ),
        lambda path: _draw_kernels(path, crop, pixels, chosen, groups, maps),
    )


def _model_name(model: nn.Module | str | os.PathLike) -> str:
    return type(model).__name__ if isinstance(model, nn.Module) else display_name(model)


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


def _draw_kernels(
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
    crop, _ = prepare_input(image, network.scale, SIDE)
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
    return Reproduction(
        "figure10",
        f"Figure 10: features after the gates of {_model_name(model)}",
        (Table("Distributions over all pixels and channels", columns, tuple(rows)),),
        (
            "The self-gate u·x1, u = GELU(x1), is 0 or more, up to rounding; the cross-gate u·x2 has both signs. "
            "Kurtosis is Fisher's, 0 for a normal distribution.",
        ),
        lambda path: _draw_gates(path, gated),
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


def _draw_gates(path: str | os.PathLike, gated: dict[int, tuple[np.ndarray, np.ndarray]]) -> None:
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
