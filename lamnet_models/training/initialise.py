"""Initial weights: interpolation, or partial initialization from a checkpoint."""

from __future__ import annotations

import os
from typing import Any

import torch

from ..checkpoint import read_checkpoint
from ..lamnet import LAMNet
from ..pretrained import resolve_weights_path

_FEATURE_SCALE = 0.25
"""Factor on the last convolution's random weights for the features that carry no image."""


def initialize_as_interpolation(model: LAMNet) -> None:
    """Initialize a model to interpolate its input.

    ``conv_first`` copies the image to the first ``in_chans`` features, the last convolution interpolates these by
    parabolas through three pixels in each direction, and ``conv_body``, which ends the residual branch, is zero. All
    weights remain trainable.

    Args:
        model: Model with at least as many features as image channels, changed in place.
    """
    scale, in_chans = model.scale, model.in_chans
    first, last = model.conv_first, model.upsample[0]
    offsets = (torch.arange(scale) + 0.5) / scale - 0.5  # of the subpixels from the pixel center
    # Quadratic Lagrange weights of the pixels at -1, 0 and 1, for each subpixel.
    parabola = torch.stack([offsets * (offsets - 1) / 2, 1 - offsets**2, offsets * (offsets + 1) / 2], dim=1)
    kernels = torch.einsum("ik,jl->ijkl", parabola, parabola).flatten(0, 1)
    with torch.no_grad():
        last.weight.mul_(_FEATURE_SCALE)
        for channel in range(in_chans):
            first.weight[channel] = 0
            first.weight[channel, channel, 1, 1] = 1
            last.weight[:, channel] = 0
            last.weight[channel * scale**2 : (channel + 1) * scale**2, channel] = kernels
        model.conv_body.weight.zero_()


def initialize_from(model: LAMNet, source: str | os.PathLike) -> dict[str, Any]:
    """Load every tensor of a checkpoint whose name and shape match.

    For another scale, that is all but the last convolution, as in the paper's training for ×3 and ×4. For a model with
    more blocks, the additional blocks stay random.

    Args:
        model: Model to initialize, changed in place.
        source: A checkpoint file, or the name of pretrained weights.

    Returns:
        ``taken``: description of the loaded and the random tensors; ``before``: training metadata of the checkpoint,
        if it has any.

    Raises:
        CheckpointError: If the checkpoint cannot be read.
        ModelError: If the name of the weights is unknown.
    """
    path = resolve_weights_path(source)
    checkpoint = read_checkpoint(path)
    source_state, state = checkpoint.state, model.state_dict()
    loaded = [key for key, tensor in state.items() if key in source_state and source_state[key].shape == tensor.shape]
    model.load_state_dict({key: source_state[key] for key in loaded}, strict=False)
    random = sorted({_module_name(key) for key in state if key not in loaded}, key=str)
    description = f"{len(loaded)} of {len(state)} tensors from {path.name}"
    description = f"{description}; random: {', '.join(random)}" if random else description
    return {"taken": description} | ({"before": checkpoint.training} if "recipe" in checkpoint.training else {})


def _module_name(key: str) -> str:
    """Return the block or outer layer that a tensor belongs to: ``"blocks.2"``, ``"upsample"``."""
    parts = key.split(".")
    return ".".join(parts[:2]) if parts[0] == "blocks" else parts[0]
