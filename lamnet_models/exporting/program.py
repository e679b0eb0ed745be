"""What every exported program is made from, and what it tells about itself."""

from __future__ import annotations

import json
from importlib.metadata import version

from torch import nn

from ..errors import ExportError
from ..lamnet import LAMNet

METADATA = "lamnet"
"""Key under which a program holds what it is, as JSON."""


def detached_eval_copy(model: nn.Module) -> LAMNet:
    """Returns a copy in evaluation mode, on the CPU, in float32, that asks for no backend and is not compiled.

    Raises:
        ExportError: If the network is no LAMNet.
    """
    if not isinstance(model, LAMNet):
        raise ExportError(f"only LAMNet is exported, and this is of the kind {type(model).__name__}")
    copy = LAMNet(**model.config)
    copy.load_state_dict(model.state_dict())
    return copy.eval()


def build_metadata(model: LAMNet, half: bool) -> dict[str, str]:
    """Returns what a program tells about itself, by key."""
    facts = {"version": version("lamnet"), "half": half, "config": model.config}
    mean = [round(value, 4) for value in model.mean.flatten().tolist()]
    return {
        METADATA: json.dumps(facts),
        "scale": str(model.scale),
        "in_chans": str(model.in_chans),
        "mean": json.dumps(mean),  # for the curious: the program subtracts it itself
    }
