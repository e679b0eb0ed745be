"""Starting weights: from another scale, another size, as far as they fit."""

from __future__ import annotations

import os
from typing import Any

from ..checkpoint import read_checkpoint
from ..lamnet import LAMNet
from ..pretrained import locate


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
    path = locate(source)
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
