"""Decay branches: copies of a run whose learning rate decays to zero."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from ..errors import TrainingError
from .recipe import BUDGETS, Recipe, load_recipe
from .schedule import budget_progress, target_weight
from .state import ZERO_COUNTERS, load_state

_FIXED = ("model", "model_args", "start", "init_from", "lr", "warmup", "schedule", "decay")


def branch_recipe(trunk: str | os.PathLike, overrides: dict[str, Any]) -> Recipe:
    """Return the recipe of a decay branch: that of the trunk with a new budget, all decay.

    Args:
        trunk: Folder of the run to branch from.
        overrides: Values by field, including one of ``steps``, ``minutes`` and ``pixels``.

    Raises:
        TrainingError: If the folder contains no run, the budget is missing, or a field is fixed by the trunk.
    """
    path = Path(trunk) / "recipe.yaml"
    if fixed := [key for key in _FIXED if key in overrides]:
        raise TrainingError(f"{fixed[0]} cannot be set with decay_from: it is that of {trunk}")
    if not any(overrides.get(name) is not None for name in BUDGETS):
        raise TrainingError(f"decay_from requires a budget: set one of {', '.join(BUDGETS)}, such as minutes=30")
    if not path.is_file():
        raise TrainingError(f"decay_from must be the folder of a run, got {trunk} (recipe.yaml is missing)")
    fields = {"decay_from": os.fspath(trunk), "init_from": None, "schedule": "wsd", "decay": 1.0, "warmup": 0}
    return load_recipe(path).with_overrides({**overrides, **fields})


def branch_state(recipe: Recipe, digest: str, images: int) -> dict[str, Any]:
    """Return the initial state of a decay branch: the trunk's newest, with new counters.

    Args:
        recipe: Recipe of the branch.
        digest: Digest of the training images.
        images: Number of training images.

    Raises:
        TrainingError: If the trunk has no readable state, or was trained on other images.
    """
    trunk = Path(recipe.decay_from)
    trunk_recipe = load_recipe(trunk / "recipe.yaml")
    state = load_state(trunk / "states")
    if state is None:
        raise TrainingError(f"decay_from: {trunk} has no saved state: wait for one, or send it SIGUSR1")
    if state["data"] != digest:
        sources = ", ".join(recipe.data)
        raise TrainingError(f"data must be the images that {trunk} was trained on, got other images: {sources}")
    step, seconds = state["step"], state["seconds"]
    pixels = state.get("pixels", step * trunk_recipe.pixels_per_step)
    start = state.get("start", ZERO_COUNTERS)
    used = {"step": step - start["step"], "pixels": pixels - start["pixels"], "seconds": seconds - start["seconds"]}
    weight = target_weight(
        dataclasses.replace(trunk_recipe, target_weight=recipe.target_weight), budget_progress(trunk_recipe, **used)
    )
    metadata = {
        "recipe": dataclasses.asdict(trunk_recipe),
        "step": used["step"],
        "pixels": used["pixels"],
        "hours": round(used["seconds"] / 3600, 3),
        "images": images,
        "hardware": state.get("hardware", "hardware not recorded"),
        **state["before"],
    }
    return {
        **state,
        "pixels": pixels,
        "start": {
            "step": step,
            "pixels": pixels,
            "seconds": seconds,
            "lr": state["optimizer"]["param_groups"][0]["lr"],
            "target_weight": weight if recipe.targets else recipe.target_weight,
        },
        "best": None,
        "loss": (0.0, 0),
        "before": {"taken": f"decay from step {step:,} of {trunk.name}", "before": metadata},
    }
