"""Creation of Adam and loading of its state."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .recipe import Recipe

_FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu", "hpu", "mtia")


def create_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Adam:
    """Return Adam for a network, fused if the device supports it."""
    parameters = list(network.parameters())
    fused = all(parameter.device.type in _FUSED_DEVICES for parameter in parameters)
    return torch.optim.Adam(parameters, lr=recipe.lr, betas=recipe.betas, fused=fused or None)


def load_optimizer_state(optimizer: torch.optim.Adam, state: dict[str, Any]) -> None:
    """Load a state dict, keeping the optimizer's ``fused`` setting.

    The moments get the strides of their parameters: fused Adam on the CPU pairs elements by memory offset, unchecked.

    Args:
        optimizer: The optimizer, changed in place.
        state: State dict of an Adam, fused or not.
    """
    fused = optimizer.param_groups[0]["fused"]
    groups = [{**group, "fused": fused} for group in state["param_groups"]]
    optimizer.load_state_dict({**state, "param_groups": groups})
    for parameter, values in optimizer.state.items():
        for key in ("exp_avg", "exp_avg_sq"):
            if values[key].stride() != parameter.stride():
                values[key] = torch.empty_like(parameter, requires_grad=False).copy_(values[key])
