"""Preparation of models for export, and metadata of exported programs."""

from __future__ import annotations

import json
from importlib.metadata import version

from torch import nn

from ..errors import ExportError
from ..lamnet import LAMNet

METADATA = "lamnet"
"""Metadata key of the JSON description of a program."""


def detached_eval_copy(model: nn.Module) -> LAMNet:
    """Return an uncompiled float32 copy on the CPU, in evaluation mode, with the default backend.

    Raises:
        ExportError: If the network is not a LAMNet.
    """
    if not isinstance(model, LAMNet):
        raise ExportError(f"model must be a LAMNet, got {type(model).__name__}")
    copy = LAMNet(**model.config)
    copy.load_state_dict(model.state_dict())
    return copy.eval()


def build_metadata(model: LAMNet, half: bool) -> dict[str, str]:
    """Return the metadata of a program by key."""
    description = {"version": version("lamnet"), "half": half, "config": model.config}
    mean = [round(value, 4) for value in model.mean.flatten().tolist()]
    return {
        METADATA: json.dumps(description),
        "scale": str(model.scale),
        "in_chans": str(model.in_chans),
        "mean": json.dumps(mean),  # informative: the program subtracts it
    }
