"""A run: begun, or gone on with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..errors import TrainingError
from .branch import branch_recipe
from .events import NullCallback, TrainingCallback
from .lock import lock_folder
from .loop import Trainer, TrainingResult
from .processes import detect_lost_process, join_processes
from .recipe import Recipe, load_recipe


def train(
    recipe: Recipe | str | os.PathLike = "quick",
    output: str | os.PathLike = "runs/lamnet",
    *,
    resume: bool = False,
    callback: TrainingCallback | None = None,
    decay_from: str | os.PathLike | None = None,
    **overrides: Any,
) -> TrainingResult:
    """Trains a model.

    The run's folder gets ``recipe.yaml``, ``log.jsonl``, ``last.safetensors`` and ``best.safetensors`` with averaged
    weights, and ``states/`` to resume from. Under a launcher such as torchrun, every process calls this function and
    they train together; it starts no processes itself.

    Args:
        recipe: A recipe, the name of one (``"quick"``, ``"budget"``, ``"paper_x2"`` …), or a YAML file.
        output: The run's folder.
        resume: Whether to go on with the run in that folder, by the recipe saved there; from its start if no state has
            been saved yet.
        callback: Told how it goes.
        decay_from: Folder of a run, which may be going on. A copy of its newest state is trained on by that run's
            recipe, while the learning rate falls linearly to zero over the budget in ``overrides``; ``recipe`` is not
            used.
        **overrides: Fields of the recipe to change.

    Returns:
        What it came to.

    Raises:
        TrainingError: If the run cannot start, or diverges, or if another process trains in the folder.
        LAMNetError: If data or weights to start from cannot be had.
        OSError: If the last state cannot be written.
    """
    folder, callback = Path(output), callback or NullCallback()
    state = join_processes()
    on_message = callback.on_message if state.is_main_process else NullCallback().on_message
    with detect_lost_process(), lock_folder(folder, state, on_message):
        begun = (folder / "recipe.yaml").is_file()
        if begun and not resume:
            raise TrainingError(f"{folder} holds a run: go on with it by --resume, or choose another folder")
        if resume and begun:
            recipe = load_recipe(folder / "recipe.yaml")
            if decay_from is not None and Path(decay_from).resolve() != Path(recipe.decay_from or folder).resolve():
                raise TrainingError(f"decay_from is {decay_from}, but the run in {folder} did not start from it")
        elif decay_from is not None:
            recipe, overrides = branch_recipe(decay_from, overrides), {}
        elif not isinstance(recipe, Recipe):
            recipe = load_recipe(recipe)
        return Trainer(recipe.with_overrides(overrides), folder, callback).run()
