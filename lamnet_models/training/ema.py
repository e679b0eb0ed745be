"""The running mean of the weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class EMA:
    """An exponential moving average of a network's parameters, updated at every step.

    Early on the decay is lower, (1 + t) / (10 + t) at step t, so that the random beginning is soon forgotten.

    Args:
        model: The network; the average starts as a copy of it.
        decay: 0 to 1, exclusive.

    Attributes:
        model: The network with averaged parameters, in evaluation mode.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay
        self._averages = list(self.model.parameters())

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Moves the averages towards a network's parameters after a step, the first of which is 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, list(model.parameters()), 1 - decay)
