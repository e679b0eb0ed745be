"""Training of ablation variants with one recipe."""

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
    """Training budget in steps or minutes.

    Attributes:
        steps: Optimizer steps, None for a time budget.
        minutes: Wall-clock time, None for a step budget.
    """

    steps: int | None = None
    minutes: float | None = None

    @classmethod
    def parse(cls, budget: Budget | str) -> Budget:
        """Parse a budget: ``"500"`` steps, ``"90s"``, ``"10m"`` or ``"2h"``.

        Raises:
            ValueError: If the text is not a budget.
        """
        if isinstance(budget, Budget):
            return budget
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(|s|m|min|h)", budget.strip())
        if not match or float(match[1]) == 0 or (not match[2] and "." in match[1]):
            raise ValueError(f"train must be a number of steps or a time such as 90s, 10m or 2h, got {budget!r}")
        return cls(minutes=float(match[1]) * _UNITS[match[2]]) if match[2] else cls(steps=int(match[1]))

    def __str__(self) -> str:
        """Return the budget with its unit."""
        return f"{self.steps:,} steps" if self.minutes is None else f"{self.minutes:g} minutes"


def train_variants(
    variants: Mapping[str, dict[str, Any]],
    budget: Budget,
    data: Sequence[str],
    folder: Path,
    on_status: Callable[[str], None] | None = None,
    **overrides: Any,
) -> dict[str, TrainingResult]:
    """Train variants of ``lamnet_x2`` one after the other, with one recipe and one seed.

    Args:
        variants: Overridden model arguments by name of the variant.
        budget: Budget of each variant.
        data: Folders of images or names of datasets to train on.
        folder: Parent of the run folders. Existing runs are resumed, finished ones kept.
        on_status: Called with status lines.
        **overrides: Recipe fields to override; ``model_args`` apply to all variants.

    Returns:
        Training result by name of the variant.

    Raises:
        TrainingError: If a training fails or is stopped, or its folder contains a run with another recipe.
        LAMNetError: If the images cannot be read.
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
            raise TrainingError(f"{run} contains a run with another recipe or budget: move it away")
        if on_status:
            on_status(f"{name}: training for {budget}")
        results[name] = result = train(recipe, run, resume=True)
        if result.stopped_by:
            raise TrainingError(
                f"{name} stopped at step {result.step}, state saved; run the same command again to resume"
            )
    return results


def run_name(variant: str) -> str:
    """Return the run name of a variant, such as ``fsa-mhdlsa`` for ``"FSA → MHDLSA"``."""
    return re.sub(r"[^a-z0-9]+", "-", variant.lower()).strip("-")
