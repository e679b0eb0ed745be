"""Decay branches: a copy of a run's newest state, whose learning rate then decays to zero."""

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
    """Returns the recipe of a decay branch: the trunk's, with a budget of its own that is all decay.

    Args:
        trunk: Folder of the run to branch from.
        overrides: Values by field, one of ``steps``, ``minutes`` and ``pixels`` among them.

    Raises:
        TrainingError: If the folder holds no run, the budget is missing, or a field is fixed by the trunk.
    """
    path = Path(trunk) / "recipe.yaml"
    if fixed := [key for key in _FIXED if key in overrides]:
        raise TrainingError(f"decay_from: {fixed[0]} is taken from {trunk} and cannot be set")
    if not any(overrides.get(name) is not None for name in BUDGETS):
        raise TrainingError(f"decay_from: set the budget of the decay, one of {', '.join(BUDGETS)}, such as minutes=30")
    if not path.is_file():
        raise TrainingError(f"decay_from: {trunk} holds no run: recipe.yaml is missing")
    own = {"decay_from": os.fspath(trunk), "init_from": None, "schedule": "wsd", "decay": 1.0, "warmup": 0}
    return load_recipe(path).with_overrides({**overrides, **own})


def branch_state(recipe: Recipe, digest: str, images: int) -> dict[str, Any]:
    """Returns the first state of a decay branch: the trunk's newest one, with the counters of the branch.

    Args:
        recipe: Recipe of the branch.
        digest: Digest of its training images.
        images: Number of them.

    Raises:
        TrainingError: If the trunk has no readable state, or was trained on other images.
    """
    trunk = Path(recipe.decay_from)
    trained_by = load_recipe(trunk / "recipe.yaml")
    state = load_state(trunk / "states")
    if state is None:
        raise TrainingError(f"decay_from: {trunk} has no saved state yet; wait for one, or send SIGUSR1 to save one")
    if state["data"] != digest:
        raise TrainingError(f"decay_from: {trunk} was trained on other images than {', '.join(recipe.data)} has now")
    step, seconds = state["step"], state["seconds"]
    pixels = state.get("pixels", step * trained_by.pixels_per_step)
    began = state.get("start", ZERO_COUNTERS)
    used = {"step": step - began["step"], "pixels": pixels - began["pixels"], "seconds": seconds - began["seconds"]}
    weight = target_weight(
        dataclasses.replace(trained_by, target_weight=recipe.target_weight), budget_progress(trained_by, **used)
    )
    facts = {
        "recipe": dataclasses.asdict(trained_by),
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
        "before": {"taken": f"decay from step {step:,} of {trunk.name}", "before": facts},
    }
