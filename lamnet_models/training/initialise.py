"""Starting weights: from another scale, another size, as far as they fit."""

from __future__ import annotations

import os
from typing import Any

import torch

from ..checkpoint import read_checkpoint
from ..lamnet import LAMNet
from ..pretrained import resolve_weights_path

_OTHERS = 0.25
"""What the last convolution's random weights for the other features are multiplied with: less noise to begin with."""


def start_from_interpolation(model: LAMNet) -> None:
    """Sets a model up to interpolate at first, so that training need not find out what an image is.

    The first channels carry the image, the last convolution interpolates them by parabolas, and what the blocks add
    starts at zero. All weights stay free.

    Args:
        model: A model with at least as many features as image channels, changed in place.
    """
    scale, in_chans = model.scale, model.in_chans
    first, last = model.conv_first, model.upsample[0]
    offsets = (torch.arange(scale) + 0.5) / scale - 0.5  # of the subpixels from their pixel's centre
    parabola = torch.stack([offsets * (offsets - 1) / 2, 1 - offsets**2, offsets * (offsets + 1) / 2], dim=1)
    kernels = torch.einsum("ik,jl->ijkl", parabola, parabola).flatten(0, 1)
    with torch.no_grad():
        last.weight.mul_(_OTHERS)
        for channel in range(in_chans):
            first.weight[channel] = 0
            first.weight[channel, channel, 1, 1] = 1
            last.weight[:, channel] = 0
            last.weight[channel * scale**2 : (channel + 1) * scale**2, channel] = kernels
        model.conv_body.weight.zero_()


def initialise_from(model: LAMNet, source: str | os.PathLike) -> dict[str, Any]:
    """Takes every tensor of a checkpoint that the model has in the same shape.

    From another scale that is all but the last convolution, as in the paper's training for ×3 and ×4; from a model with
    fewer blocks, its blocks.

    Args:
        model: The model, changed in place.
        source: A checkpoint file, or the name of pretrained weights.

    Returns:
        ``taken``: what was taken and what was not, in words; ``before``: how those weights were trained, where the
        checkpoint says so.

    Raises:
        CheckpointError: If the checkpoint cannot be read.
        ModelError: If there are no weights of that name.
    """
    path = resolve_weights_path(source)
    checkpoint = read_checkpoint(path)
    theirs, ours = checkpoint.state, model.state_dict()
    taken = [key for key, tensor in ours.items() if key in theirs and theirs[key].shape == tensor.shape]
    model.load_state_dict({key: theirs[key] for key in taken}, strict=False)
    left = sorted({_part(key) for key in ours if key not in taken}, key=str)
    words = f"{len(taken)} of {len(ours)} tensors from {path.name}"
    words = f"{words}; random: {', '.join(left)}" if left else words
    return {"taken": words} | ({"before": checkpoint.training} if "recipe" in checkpoint.training else {})


def _part(key: str) -> str:
    """Returns the name of the part of the network that a tensor belongs to: a block, or a layer outside of them."""
    parts = key.split(".")
    return ".".join(parts[:2]) if parts[0] == "blocks" else parts[0]
