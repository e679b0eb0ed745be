"""The learning rate over a run."""

from __future__ import annotations

import math

from .recipe import Recipe


def learning_rate(recipe: Recipe, step: int, progress: float) -> float:
    """Returns the learning rate of a step.

    Args:
        recipe: The run's settings.
        step: Steps done before it.
        progress: How much of the run is done, by steps or by the clock, 0 to 1.
    """
    rate = recipe.lr
    if recipe.schedule == "multistep":
        rate *= recipe.gamma ** sum(step >= milestone for milestone in recipe.milestones)
    elif recipe.schedule == "cosine":
        rate *= (1 + math.cos(math.pi * min(progress, 1.0))) / 2
    elif recipe.schedule == "linear":
        rate *= max(0.0, 1 - progress)
    return rate * min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else rate
