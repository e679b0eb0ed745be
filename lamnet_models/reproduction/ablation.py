"""Variants of the model, trained beside each other by one recipe."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import TrainingError
from ..training import Recipe, TrainingResult, load_recipe, train

_UNITS = {"s": 1 / 60, "m": 1.0, "min": 1.0, "h": 60.0}


@dataclass(frozen=True)
class Budget:
    """How long a training may go on: so many steps, or so many minutes.

    Attributes:
        steps: Optimiser steps, None for a budget of time.
        minutes: Wall-clock time, None for a budget of steps.
    """

    steps: int | None = None
    minutes: float | None = None

    @classmethod
    def parse(cls, budget: Budget | str) -> Budget:
        """Returns the budget that a text means: ``"500"`` steps, ``"90s"``, ``"10m"`` or ``"2h"``.

        Raises:
            ValueError: If it means none.
        """
        if isinstance(budget, Budget):
            return budget
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(|s|m|min|h)", budget.strip())
        if not match or float(match[1]) == 0 or (not match[2] and "." in match[1]):
            raise ValueError(f"train is {budget!r}, but it must be a number of steps, or a time such as 90s, 10m or 2h")
        return cls(minutes=float(match[1]) * _UNITS[match[2]]) if match[2] else cls(steps=int(match[1]))

    def __str__(self) -> str:
        """Returns it in words."""
        return f"{self.steps:,} steps" if self.minutes is None else f"{self.minutes:g} minutes"


def train_variants(
    variants: Mapping[str, dict[str, Any]],
    budget: Budget,
    data: Sequence[str],
    folder: Path,
    on_status: Callable[[str], None] | None = None,
    **overrides: Any,
) -> dict[str, TrainingResult]:
    """Trains variants of ``lamnet_x2`` one after the other, by one recipe and one seed.

    Args:
        variants: Arguments of the model that differ, by the variant's name.
        budget: Of each variant.
        data: Folders of images or names of sets to train on.
        folder: Takes a run's folder for each variant. A run that is there is gone on with, or left as it is if it is
            done.
        on_status: Called with what is being done.
        **overrides: Fields of the recipe that differ; ``model_args`` are all variants'.

    Returns:
        What became of each.

    Raises:
        TrainingError: If a training cannot run, is asked to stop, or finds a run of another recipe in its folder.
        LAMNetError: If the images cannot be had.
    """
    shared = overrides.pop("model_args", {})
    results = {}
    for name, arguments in variants.items():
        run = folder / run_name(name)
        recipe = Recipe(
            model="lamnet_x2",
            model_args={**shared, **arguments},
            data=tuple(data),
            start="interpolation",
            steps=budget.steps,
            minutes=budget.minutes,
            batch=8,
            patch=32,
            lr=5e-4,
            warmup=20,
            schedule="cosine",
            clip=1.0,
            ema=0.98,
            valid="sample",
            valid_crop=192,
            valid_every=25,
            log_every=10,
        ).with_overrides(overrides)
        if (run / "recipe.yaml").is_file() and load_recipe(run / "recipe.yaml") != recipe:
            raise TrainingError(f"{run} holds a run by another recipe or with another budget: move it away")
        if on_status:
            on_status(f"{name}: training for {budget}")
        results[name] = result = train(recipe, run, resume=True)
        if result.stopped_by:
            raise TrainingError(
                f"{name} stopped at step {result.step}, state saved: the same command goes on from there"
            )
    return results


def run_name(variant: str) -> str:
    """Returns the name of a variant's run: ``"FSA → MHDLSA"`` has ``fsa-mhdlsa``."""
    return re.sub(r"[^a-z0-9]+", "-", variant.lower()).strip("-")
