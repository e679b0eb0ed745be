"""Inference of the model configuration from a state dict."""

from __future__ import annotations

import re
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from lamnet_layers import FocalWindow

from .errors import CheckpointError

PUBLISHED_WINDOWS = (FocalWindow(), FocalWindow((1, 2), (3, 3)), FocalWindow((1,), (6,)))
"""Windows of the paper's table 4; their sizes differ."""


def infer_config(state: dict[str, Tensor]) -> dict[str, Any]:
    """Return the arguments of [`LAMNet`][lamnet_models.LAMNet] that match a state dict.

    Args:
        state: State dict with LAMNet's key names (see ``from_original``).

    Raises:
        CheckpointError: If the state dict is not a LAMNet's.
    """
    embed_dim, in_chans = _shape(state, "conv_first.weight", 4)[:2]
    upsampled = _shape(state, "upsample.0.weight", 4)[0]
    scale = isqrt(upsampled // max(in_chans, 1))
    if scale < 1 or scale**2 * in_chans != upsampled:
        raise CheckpointError(
            f"not a LAMNet checkpoint: upsample.0.weight must have scale² · {in_chans} outputs, got {upsampled}"
        )
    mixer, spatial = "blocks.0.layers.0.layer", "blocks.0.layers.0.layer.spatial"
    attn_layer = "mhdlsa" if f"{spatial}.expand.weight" in state else "fsa"
    if attn_layer == "fsa":
        window = _window(state, spatial)
        weights, taps = _shape(state, f"{spatial}.horizontal.pointwise.weight", 4)[0], window.taps
    else:
        window = _square_window(state, spatial)
        weights, taps = _shape(state, f"{spatial}.expand.weight", 4)[0], window.size**2
    if weights % taps:
        raise CheckpointError(f"not a LAMNet checkpoint: {weights} attention weights for a window of {taps} taps")
    mlp_layer, hidden_dim = _mlp_layer(state, "blocks.0.layers.1.layer")
    num_blocks = _count(state, r"blocks\.(\d+)\.")
    depth = (_count(state, r"blocks\.0\.layers\.(\d+)\.") + 1) // 2
    if 2 * num_blocks * depth > len(state):  # limits the model size that a few keys can request
        raise CheckpointError(f"not a LAMNet checkpoint: its {num_blocks} blocks have different depths")
    return {
        "scale": scale,
        "in_chans": in_chans,
        "embed_dim": embed_dim,
        "num_blocks": num_blocks,
        "depth": depth,
        "num_heads": weights // taps,
        "window": [list(window.strides), list(window.steps)],
        "attn_layer": attn_layer,
        "channel_layer": _channel_layer(state, mixer),
        "gate_layer": None if f"{mixer}.without_exchange" in state else "iem",
        "mlp_layer": mlp_layer,
        "hidden_dim": hidden_dim,
    }


def add_missing_cells(state: dict[str, Tensor], window: FocalWindow) -> dict[str, Tensor]:
    """Return a state dict with the window's cells added for each attention without them."""
    cells = torch.tensor(window.cells, dtype=torch.int32)
    suffix = "horizontal.depthwise.weight"
    missing = {f"{key.removesuffix(suffix)}cells": cells for key in state if key.endswith(suffix)}
    return missing | state


def _window(state: dict[str, Tensor], spatial: str) -> FocalWindow:
    size = _shape(state, f"{spatial}.horizontal.depthwise.weight", 4)[3]
    if f"{spatial}.cells" not in state:  # missing in some files of the original format
        for window in PUBLISHED_WINDOWS:
            if window.size == size:
                return window
        raise CheckpointError(
            f"not a LAMNet checkpoint: {spatial}.cells is missing, and no published window has size {size}"
        )
    _shape(state, f"{spatial}.cells", 2)
    try:
        window = FocalWindow.from_cells(state[f"{spatial}.cells"].tolist())
    except ValueError as error:
        raise CheckpointError(f"not a LAMNet checkpoint: {spatial}.cells: {error}") from None
    if window.size != size:
        raise CheckpointError(
            f"not a LAMNet checkpoint: {spatial}.cells has window size {window.size}, the weights have {size}"
        )
    return window


def _square_window(state: dict[str, Tensor], spatial: str) -> FocalWindow:
    radius = _shape(state, f"{spatial}.depthwise.weight", 4)[3] // 2
    return FocalWindow((1,), (radius,)) if radius else FocalWindow((), ())


def _channel_layer(state: dict[str, Tensor], mixer: str) -> str | None:
    if f"{mixer}.channel.reduce.weight" in state:
        return "csm"
    return "linear" if f"{mixer}.channel.weight" in state else None


def _mlp_layer(state: dict[str, Tensor], layer: str) -> tuple[str, int]:
    expanded = _shape(state, f"{layer}.proj_in.weight", 4)[0]
    if f"{layer}.depthwise.weight" not in state:
        return "ffn", expanded
    gated = _shape(state, f"{layer}.proj_out.weight", 4)[1]
    return ("dgfn" if gated == expanded else "gdfn"), expanded // 2


def _shape(state: dict[str, Tensor], name: str, dims: int) -> tuple[int, ...]:
    if name not in state:
        raise CheckpointError(f"not a LAMNet checkpoint: {name} is missing")
    shape = tuple(state[name].shape)
    if len(shape) != dims or 0 in shape:
        raise CheckpointError(f"not a LAMNet checkpoint: {name} has shape {shape}")
    return shape


def _count(state: dict[str, Tensor], pattern: str) -> int:
    return len({match[1] for key in state if (match := re.match(pattern, key))})
