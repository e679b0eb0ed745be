"""Start or resume a training run."""

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
    """Train a model.

    Writes ``recipe.yaml``, ``log.jsonl``, averaged weights in ``last.safetensors`` and ``best.safetensors``, and
    ``states/`` for resuming. Under a launcher such as torchrun, call this function in every process; it starts no
    processes itself.

    Args:
        recipe: A recipe, its name (``"quick"``, ``"budget"``, ``"paper_x2"`` …), or a YAML file.
        output: Folder of the run.
        resume: Whether to resume the run in ``output`` with the recipe saved there. Without a saved state the run
            starts at step 0.
        callback: Receives reports, validations and messages.
        decay_from: Folder of another run, which may be in progress. Training continues from a copy of its newest state
            with its recipe, and the learning rate falls linearly to zero over the budget in ``overrides``. ``recipe``
            is ignored.
        **overrides: Recipe fields to change.

    Returns:
        Summary of the run.

    Raises:
        TrainingError: If the run cannot start, diverges, or another process trains in ``output``.
        LAMNetError: If the data or initial weights cannot be loaded.
        OSError: If the last state cannot be written.
    """
    folder, callback = Path(output), callback or NullCallback()
    state = join_processes()
    on_message = callback.on_message if state.is_main_process else NullCallback().on_message
    with detect_lost_process(), lock_folder(folder, state, on_message):
        exists = (folder / "recipe.yaml").is_file()
        if exists and not resume:
            raise TrainingError(f"{folder} contains a run: resume it with --resume, or choose another folder")
        if resume and exists:
            recipe = load_recipe(folder / "recipe.yaml")
            if decay_from is not None and Path(decay_from).resolve() != Path(recipe.decay_from or folder).resolve():
                source = recipe.decay_from or "none"
                raise TrainingError(f"decay_from must be that of the run in {folder}, {source}, got {decay_from}")
        elif decay_from is not None:
            recipe, overrides = branch_recipe(decay_from, overrides), {}
        elif not isinstance(recipe, Recipe):
            recipe = load_recipe(recipe)
        return Trainer(recipe.with_overrides(overrides), folder, callback).run()
