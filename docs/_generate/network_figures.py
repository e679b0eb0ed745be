"""Figures of the packaged network on a photograph: dynamic kernels, gates and slider images."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from torch import Tensor, nn

from lamnet_layers import DGFN, IEM, FocalSeparableAttention, focal_aggregate
from lamnet_models import LAMNet, create_model
from lamnet_models.data.catalog import sample_path
from lamnet_models.evaluation import imresize
from lamnet_models.image_io import Picture, read_rgb, write_image
from lamnet_models.inference import upscale

MODEL = "lamnet_x4"
PIXELS = {"flag": (14, 12), "helmet": (38, 50), "rocket": (110, 30), "wall": (78, 20)}
"""Points of the LR astronaut, (column, row)."""
_MIXER = (3, 4)
"""Block and mixer of the attention in the kernel figure."""
_EXCHANGES = ((0, 3), (1, 5), (2, 2), (3, 2))
"""(block, mixer) of the gates in the exchange figure: per block, the mixer whose gates vary most."""
_GRAY = "#7d879b"  # legible on white and on black


def photograph(scale: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Return HR and LR of the upper part of the sample photograph, both (H, W, 3) uint8."""
    hr = read_rgb(sample_path("astronaut"))[:340]
    return hr, imresize(hr, 1 / scale)


def write_slider(folder: Path) -> None:
    """Write the two images of the home page's slider."""
    _, lr = photograph()
    write_image(folder / "slider-bicubic.png", Picture(imresize(lr, 4)))
    write_image(folder / "slider-lamnet.png", Picture(upscale(lr, MODEL)))


def exact_kernel(attention: FocalSeparableAttention, x: Tensor, pixel: tuple[int, int], head: int) -> Tensor:
    """Return the exact (P, P) kernel of both passes at one output pixel.

    For fixed predicted weights both passes are linear in the aggregated features, so the gradient of the output pixel
    with respect to them is the kernel.
    """
    window, heads = attention.window, attention.horizontal.num_heads
    rows = attention.horizontal.predict(x)
    columns = attention.vertical.predict(attention.horizontal(x))
    probe = torch.zeros_like(x, requires_grad=True)
    passed = focal_aggregate(probe, rows, window, num_heads=heads, dim=-1)
    out = focal_aggregate(passed, columns, window, num_heads=heads, dim=-2)
    channel, (column, row) = head * x.shape[1] // heads, pixel
    (kernel,) = torch.autograd.grad(out[0, channel, row, column], probe)
    radius = window.radius
    padded = nn.functional.pad(kernel[0, channel], (radius,) * 4)
    return padded[row : row + window.size, column : column + window.size]


def capture_inputs(network: nn.Module, image: np.ndarray, layer_type: type[nn.Module]) -> list[tuple[nn.Module, tuple]]:
    """Return all layers of a type with their inputs for an image, in execution order."""
    calls: list[tuple[nn.Module, tuple]] = []
    x = torch.from_numpy(image / np.float32(255)).movedim(2, 0)[None]
    with ExitStack() as hooks, torch.no_grad():
        for module in network.modules():
            if isinstance(module, layer_type):
                handle = module.register_forward_pre_hook(lambda layer, inputs: calls.append((layer, inputs)))
                hooks.callback(handle.remove)
        network(x)
    return calls


def write_kernels(network: LAMNet, folder: Path) -> None:
    """Draw the kernels of one layer: one row per pixel, one column per head."""
    _, image = photograph()
    block, mixer = _MIXER
    attention, (x,) = capture_inputs(network, image, FocalSeparableAttention)[block * 6 + mixer]
    heads = range(attention.horizontal.num_heads)
    kernels = [[exact_kernel(attention, x, pixel, head) for head in heads] for pixel in PIXELS.values()]
    figure = Figure(figsize=(6, 6.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(2.4, 4))
    axes = above.subplots()
    axes.imshow(image)
    for name, (column, row) in PIXELS.items():
        axes.plot(column, row, "o", color="#f0a06a", markeredgecolor="black", markersize=7)
        text = axes.annotate(name, (column, row), (6, -3), textcoords="offset points", color="white", fontsize=10)
        text.set_path_effects([withStroke(linewidth=2.5, foreground="black")])
    _hide_frame(axes)
    grid = below.subplots(len(PIXELS), len(heads))
    for head in heads:
        limit = max(row[head].abs().max() for row in kernels)
        grid[0, head].set_title(f"head {head}", color=_GRAY, fontsize=10)
        for axes, row in zip(grid[:, head], kernels, strict=True):
            axes.imshow(row[head].numpy(), cmap="PuOr_r", vmin=-limit, vmax=limit, interpolation="nearest")
            _hide_frame(axes)
    for axes, name in zip(grid[:, 0], PIXELS, strict=True):
        axes.set_ylabel(name, color=_GRAY, fontsize=10)
    _save(figure, folder / "kernels.png")


def write_exchange(network: LAMNet, folder: Path) -> None:
    """Draw the spatial gates of one mixer per block, with the range of both gates."""
    _, image = photograph()
    layers = capture_inputs(network, image, IEM)
    figure = Figure(figsize=(6, 4.9), layout="constrained")
    for axes, (block, mixer) in zip(figure.subplots(2, 2).flat, _EXCHANGES, strict=True):
        iem, inputs = layers[block * 6 + mixer]
        spatial, channel = (gate.numpy() for gate in iem.gates(*inputs))
        axes.imshow(spatial[0, 0], cmap="cividis")
        axes.set_title(
            f"block {block}, mixer {mixer}\nspatial {spatial.min():.4f} … {spatial.max():.4f}\n"
            f"channel {channel.min():.4f} … {channel.max():.4f}",
            color=_GRAY,
            fontsize=9,
        )
        _hide_frame(axes)
    _save(figure, folder / "exchange.png")


def write_gates(network: LAMNet, folder: Path) -> None:
    """Draw one channel of a DGFN before and after each gate."""
    _, image = photograph()
    layer, (x,) = capture_inputs(network, image, DGFN)[9]
    with torch.no_grad():
        x1, x2 = layer.depthwise(layer.proj_in(x)).chunk(2, dim=1)
        u = nn.functional.gelu(x1)
    energy = (u * x1).std((0, 2, 3)) * (u * x2).std((0, 2, 3))
    channel = int(energy.argmax())
    maps = {"x₁": x1, "x₂": x2, "self-gate  u·x₁": u * x1, "cross-gate  u·x₂": u * x2}
    figure = Figure(figsize=(6, 4.4), layout="constrained")
    for axes, (name, values) in zip(figure.subplots(2, 2).flat, maps.items(), strict=True):
        plane = values[0, channel].numpy()
        limit = np.quantile(np.abs(plane), 0.995)
        axes.imshow(plane, cmap="PuOr_r", vmin=-limit, vmax=limit)
        axes.set_title(name, color=_GRAY, fontsize=10)
        _hide_frame(axes)
    _save(figure, folder / "gates.png")


def write_all(folder: Path) -> None:
    """Write all figures that depend on the packaged weights."""
    network = create_model(MODEL, pretrained=True)
    write_slider(folder)
    write_kernels(network, folder)
    write_exchange(network, folder)
    write_gates(network, folder)


def _hide_frame(axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=160, transparent=True, metadata={"Software": None})
