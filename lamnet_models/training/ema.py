"""Exponential moving average of the weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


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
