"""Optimizers, loading of their states, and the exponential moving average of the weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from timm.optim import Muon
from torch import nn

from .recipe import Recipe

_FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu", "hpu", "mtia")


def create_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimizer of a recipe: Muon, or Adam, fused if the device supports it.

    Muon updates 1×1 and dense convolutions; NAdam updates depthwise convolutions, biases and scales.
    """
    parameters = list(network.parameters())
    if recipe.optimizer == "muon":
        return Muon(parameters, lr=recipe.lr, nesterov=True, betas=recipe.betas)
    fused = all(parameter.device.type in _FUSED_DEVICES for parameter in parameters)
    return torch.optim.Adam(parameters, lr=recipe.lr, betas=recipe.betas, fused=fused or None)


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a state dict, keeping the ``fused`` setting of Adam.

    The moments get the strides of their parameters: fused Adam on the CPU pairs elements by memory offset, unchecked.

    Args:
        optimizer: The optimizer, changed in place.
        state: State dict of an optimizer of the same class, fused or not.
    """
    if not isinstance(optimizer, torch.optim.Adam):
        optimizer.load_state_dict(state)
        return
    fused = optimizer.param_groups[0]["fused"]
    groups = [{**group, "fused": fused} for group in state["param_groups"]]
    optimizer.load_state_dict({**state, "param_groups": groups})
    for parameter, values in optimizer.state.items():
        for key in ("exp_avg", "exp_avg_sq"):
            if values[key].stride() != parameter.stride():
                values[key] = torch.empty_like(parameter, requires_grad=False).copy_(values[key])


class EMA:
    """Exponential moving average of a model's parameters.

    The decay at step t is ``min(decay, (1 + t) / (10 + t))``.

    Args:
        model: Model whose parameters the average starts from.
        decay: Decay in [0, 1).

    Attributes:
        model: Copy of the model with averaged parameters, in evaluation mode.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay
        self._averages = list(self.model.parameters())

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Update the average after optimizer step ``step``, counted from 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, list(model.parameters()), 1 - decay)
