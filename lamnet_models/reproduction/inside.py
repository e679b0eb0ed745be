"""Access to the layers of a LAMNet and their inputs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..factory import resolve_model
from ..lamnet import LAMNet


def open_lamnet(model: nn.Module | str | os.PathLike) -> LAMNet:
    """Return a LAMNet from a module, name or file, in evaluation mode.

    Raises:
        ModelError: If the model is not found or not a LAMNet.
    """
    network = resolve_model(model)
    if not isinstance(network, LAMNet):
        raise ModelError(f"model must be a LAMNet, got {model}")
    return network.eval()


def choose_layers(model: LAMNet, layers: Sequence[int] | None, count: int) -> list[int]:
    """Return layer numbers, from 1: the given ones, or ``count`` evenly spaced ones.

    Raises:
        ValueError: If a layer is out of range.
    """
    total = len(mixers(model))
    if layers is None:
        count = min(count, total)
        return sorted({round(1 + index * (total - 1) / max(count - 1, 1)) for index in range(count)})
    for layer in layers:
        if not 1 <= layer <= total:
            raise ValueError(f"layers must be from 1 to {total}, got {layer}")
    return list(layers)


def mixers(model: LAMNet) -> list[nn.Module]:
    """Return the token mixers, first to last."""
    return [layer.layer for block in model.blocks for layer in list(block.layers)[::2]]


def feed_forwards(model: LAMNet) -> list[nn.Module]:
    """Return the feed-forward networks, first to last."""
    return [layer.layer for block in model.blocks for layer in list(block.layers)[1::2]]


def capture_inputs(model: LAMNet, modules: Iterable[nn.Module], image: Tensor) -> list[Tensor]:
    """Return the inputs of modules in a forward pass of the network.

    Args:
        model: The network.
        modules: Modules of the network.
        image: (1, C, H, W) in [0, 1].
    """
    captured: dict[nn.Module, Tensor] = {}
    modules = list(modules)
    hooks = [
        module.register_forward_pre_hook(lambda module, inputs: captured.__setitem__(module, inputs[0]))
        for module in modules
    ]
    try:
        with torch.no_grad():
            model(image.to(model.mean.dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return [captured[module] for module in modules]
