"""Schedules of the learning rate and the target weight."""

from __future__ import annotations

import math

from .recipe import Recipe


def budget_progress(recipe: Recipe, step: int, pixels: int, seconds: float) -> float:
    """Return the fraction of the budget used, from 0 to 1.

    Args:
        recipe: Settings of the run.
        step: Steps done within the budget.
        pixels: LR pixels seen within the budget.
        seconds: Seconds of training within the budget.
    """
    if recipe.steps is not None:
        return step / recipe.steps
    if recipe.pixels is not None:
        return pixels / recipe.pixels
    return seconds / (60 * recipe.minutes)


def decay_factor(recipe: Recipe, progress: float) -> float:
    """Return ``min(1, (1 - progress) / decay)``, at least 0."""
    return min(1.0, max(0.0, (1 - progress) / recipe.decay))


def learning_rate(recipe: Recipe, step: int, progress: float) -> float:
    """Return the learning rate of a step.

    Args:
        recipe: Settings of the run.
        step: Number of the step, from 0.
        progress: Fraction of the budget used, from 0 to 1.
    """
    rate = recipe.lr
    if recipe.schedule == "multistep":
        rate *= recipe.gamma ** sum(step >= milestone for milestone in recipe.milestones)
    elif recipe.schedule == "cosine":
        rate *= (1 + math.cos(math.pi * min(progress, 1.0))) / 2
    elif recipe.schedule == "linear":
        rate *= max(0.0, 1 - progress)
    elif recipe.schedule == "wsd":
        rate *= decay_factor(recipe, progress)
    return rate * min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else rate


def target_weight(recipe: Recipe, progress: float) -> float:
    """Return the weight of the teacher targets: ``recipe.target_weight * decay_factor``."""
    return recipe.target_weight * decay_factor(recipe, progress) if recipe.targets else 0.0
