"""A network at work on an image: what its layers get to see."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..lamnet import LAMNet
from ..registry import resolve_model


def open_lamnet(model: nn.Module | str | os.PathLike) -> LAMNet:
    """Returns the LAMNet that somebody means, in evaluation mode.

    Raises:
        ModelError: If it is another network, or there is none of that name.
    """
    network = resolve_model(model)
    if not isinstance(network, LAMNet):
        raise ModelError(f"{model} is no LAMNet: its layers are not those of the paper")
    return network.eval()


def choose_layers(model: LAMNet, layers: Sequence[int] | None, count: int) -> list[int]:
    """Returns numbers of layers, from 1: those given, or so many from the first to the last.

    Raises:
        ValueError: If there is no such layer.
    """
    total = len(mixers(model))
    if layers is None:
        count = min(count, total)
        return sorted({round(1 + index * (total - 1) / max(count - 1, 1)) for index in range(count)})
    for layer in layers:
        if not 1 <= layer <= total:
            raise ValueError(f"layers has {layer}, but it must be of 1 to {total}")
    return list(layers)


def mixers(model: LAMNet) -> list[nn.Module]:
    """Returns the token mixers, first to last."""
    return [layer.layer for block in model.blocks for layer in list(block.layers)[::2]]


def feed_forwards(model: LAMNet) -> list[nn.Module]:
    """Returns the feed-forward networks, first to last."""
    return [layer.layer for block in model.blocks for layer in list(block.layers)[1::2]]


def capture_inputs(model: LAMNet, modules: Iterable[nn.Module], image: Tensor) -> list[Tensor]:
    """Returns what modules of a network are given when it runs on an image.

    Args:
        model: The network.
        modules: Modules of it.
        image: (1, C, H, W) in [0, 1].
    """
    seen: dict[nn.Module, Tensor] = {}
    modules = list(modules)
    hooks = [
        module.register_forward_pre_hook(lambda module, inputs: seen.__setitem__(module, inputs[0]))
        for module in modules
    ]
    try:
        with torch.no_grad():
            model(image.to(model.mean.dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return [seen[module] for module in modules]
