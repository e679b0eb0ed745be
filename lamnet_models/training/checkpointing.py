"""States, decay branches, folder lock and initial weights of a run."""

from __future__ import annotations

import dataclasses
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout
from torch import nn

from ..checkpoint import read_checkpoint
from ..errors import TrainingError, quantity
from ..filesystem import atomic_path
from ..lamnet import LAMNet
from ..pretrained import adapted_state, resolve_weights_path
from .recipe import BUDGETS, Recipe, load_recipe

STATE_VERSION = 1

ZERO_COUNTERS = {"step": 0, "pixels": 0, "seconds": 0.0}
"""Counters at the start of the budget, except in a decay branch."""

_MAX_ATTEMPTS = 20


def save_state(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Save a state, then remove all but the most recent ones.

    Args:
        folder: Folder of the states.
        step: Steps done.
        state: Tensors, numbers and strings, in lists and dictionaries.
        keep: Number of states to keep.

    Raises:
        OSError: If the state cannot be written; earlier states are unchanged.
    """
    folder.mkdir(exist_ok=True)
    path = write_state(folder, {**state, "version": STATE_VERSION, "step": step, "random": random_state()})
    for old in [file for file in _state_files(folder) if file <= path][keep:]:  # later ones are damaged
        old.unlink(missing_ok=True)
    return path


def write_state(folder: Path, content: dict[str, Any]) -> Path:
    """Write a complete state, as returned by [`load_state`], into an existing folder.

    Raises:
        OSError: If the state cannot be written.
    """
    path = folder / f"step_{content['step']:09d}.pt"
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch's zip writer masks the OSError
            raise OSError(f"{path}: cannot be written ({str(error).partition(chr(10))[0]})") from error
    return path


def load_state(folder: Path) -> dict[str, Any] | None:
    """Return the newest readable state, or None if the folder has no states.

    The run may be in progress: if a state is deleted before it is read, the folder is listed again.

    Raises:
        TrainingError: If none of the states can be read.
    """
    for _ in range(_MAX_ATTEMPTS):
        paths = _state_files(folder)
        for path in paths:
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
            except FileNotFoundError:
                break
            except Exception:  # damaged files raise errors of any type
                continue
            if state.get("version") != STATE_VERSION:
                raise TrainingError(f"{path}: state version must be {STATE_VERSION}, got {state.get('version')}")
            return state
        else:
            if not paths:
                return None
            raise TrainingError(f"{folder}: none of its {quantity(len(paths), 'state')} can be read")
        time.sleep(0.05)
    raise TrainingError(f"{folder}: states were deleted while being read")


def random_state() -> dict[str, Any]:
    """Return the state of all random number generators of this process."""
    algorithm, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [algorithm, keys.tolist(), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Set the state of all random number generators of this process."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    algorithm, keys, *rest = state["numpy"]
    np.random.set_state((algorithm, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _state_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("step_*.pt"), reverse=True)


# Decay branches: copies of a run whose learning rate decays to zero


_FIXED = ("model", "model_args", "start", "init_from", "optimizer", "lr", "warmup", "schedule", "decay")


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
        raise TrainingError(other_images(recipe, trunk))
    step, seconds = state["step"], state["seconds"]
    pixels = state.get("pixels", step * trunk_recipe.pixels_per_step)
    counters = {"step": step, "pixels": pixels, "seconds": seconds}
    lr = state["optimizer"]["param_groups"][0]["lr"]
    metadata = part_metadata({"recipe": dataclasses.asdict(trunk_recipe), **state, "pixels": pixels}, images)
    return {
        **state,
        "pixels": pixels,
        "start": counters | {"lr": lr},
        "part": counters,
        "recipe": dataclasses.asdict(dataclasses.replace(recipe, lr=lr)),
        "best": None,
        "loss": (0.0, 0),
        "before": {"taken": f"decay from step {step:,} of {trunk.name}", "before": metadata},
    }


def other_images(recipe: Recipe, run: Path) -> str:
    """Return the error message for a state that was trained on other images or targets than the recipe's."""
    sources = ", ".join(filter(None, (*recipe.data, recipe.targets)))
    return f"data and targets must be those that {run} was trained on, got other images in {sources}"


# Parts of a run: steps with the same settings


_UNRECORDED = {
    *BUDGETS,
    *("data", "valid", "valid_crop", "valid_every", "valid_minutes", "save_every", "save_minutes", "keep", "log_every"),
    *("compile", "grad_checkpointing", "target_license"),
}
"""Recipe fields that may change without beginning a new part."""


def part_metadata(state: dict[str, Any], images: int) -> dict[str, Any]:
    """Return the training metadata of the part of a run that a state belongs to.

    Args:
        state: State with recipe and pixels.
        images: Number of training images.
    """
    part = state.get("part", state.get("start", ZERO_COUNTERS))
    return {
        "recipe": state["recipe"],
        "step": state["step"] - part["step"],
        "pixels": state["pixels"] - part["pixels"],
        "hours": round((state["seconds"] - part["seconds"]) / 3600, 3),
        "images": images,
        "hardware": state.get("hardware", "hardware not recorded"),
        **state["before"],
    }


_FIXED_ON_RESUME = ("model", "model_args", "start", "init_from", "optimizer")
_VALIDATION = ("valid", "valid_crop", "valid_degrade")


def check_fixed_fields(state: dict[str, Any], recipe: Recipe, folder: Path) -> None:
    """Check the fields that a resumed run cannot change.

    Args:
        state: State to resume from.
        recipe: Recipe to resume with.
        folder: Folder of the run.

    Raises:
        TrainingError: If one of them differs.
    """
    fields = {"optimizer": "adam", **state.get("recipe", {})}  # earlier versions had no other optimizer
    for name in _FIXED_ON_RESUME:
        new = getattr(recipe, name)
        old = fields.get(name, new)
        if new != old:
            raise TrainingError(f"{name} must be that of the run in {folder}, {old}, got {new}")


def is_validated_alike(state: dict[str, Any], recipe: Recipe) -> bool:
    """Return whether the PSNR in a state can be compared with that of the recipe's validation."""
    old = state.get("recipe", {})
    return all(old.get(name, getattr(recipe, name)) == getattr(recipe, name) for name in _VALIDATION)


def begin_part(state: dict[str, Any], recipe: Recipe, images: int) -> dict[str, Any]:
    """Return a state to resume with a recipe: a new part begins if the settings have changed.

    Args:
        state: The state. Those of earlier versions lack the recipe, and continue their part.
        recipe: Recipe to resume with.
        images: Number of training images.
    """
    old, new = state.get("recipe", {}), dataclasses.asdict(recipe)
    changed = [name for name in new if name not in _UNRECORDED and old.get(name, new[name]) != new[name]]
    part = state.get("part", state.get("start", ZERO_COUNTERS))
    if not changed or state["step"] == part["step"]:
        return state
    settings = ", ".join(f"{name}={list(new[name]) if isinstance(new[name], tuple) else new[name]}" for name in changed)
    taken = f"resumed at step {state['step']:,} with {settings}"
    counters = {name: state[name] for name in ("step", "pixels", "seconds")}
    return {**state, "part": counters, "before": {"taken": taken, "before": part_metadata(state, images)}}


# Lock on the folder of a run


@contextmanager
def lock_folder(folder: Path, state: PartialState, on_message: Callable[[str], None]) -> Iterator[None]:
    """Lock a folder against other runs while the block runs.

    The main process holds an operating system lock on ``folder/.lock``, which is released when the process ends, even
    by SIGKILL. The file itself stays. A folder created here is removed if the block leaves it empty.

    Args:
        folder: Folder of the run; created if missing.
        state: Process group of the run. All processes raise if the main process cannot lock the folder.
        on_message: Receives a warning if the file system does not support locks.

    Raises:
        TrainingError: If another process trains in the folder.
        OSError: If the folder cannot be created.
    """
    problem = [None]
    path = folder / ".lock"
    # No fallback to a soft lock, which would outlive a killed process.
    lock = FileLock(path, timeout=0, fallback_to_soft=False, thread_local=False)
    created = []
    if state.is_main_process:
        created = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            problem = [
                f"output must be a folder without a live run, got {folder}: another process is training in it; "
                "stop it, or choose another folder"
            ]
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            on_message(f"warning: {path} cannot be locked ({reason}); do not start another run in this folder")
    try:
        broadcast_object_list(problem)
        if problem[0]:
            raise TrainingError(problem[0])
        yield
    finally:
        if created and all(entry == path for entry in folder.iterdir()):
            with suppress(OSError):
                # While locked: a process that has already opened it finds it deleted and opens a new one.
                path.unlink(missing_ok=True)
                for parent in created:
                    parent.rmdir()
        lock.release()


# Initial weights: interpolation, or partial initialization from a checkpoint


_FEATURE_SCALE = 0.25
"""Factor on the last convolution's random weights for the features that carry no image."""


def initialize_as_interpolation(model: LAMNet) -> None:
    """Initialize a model to interpolate its input.

    ``conv_first`` copies the image to the first ``in_chans`` features, the last convolution interpolates these by
    parabolas through three pixels in each direction, and ``conv_body``, which ends the residual branch, is zero. All
    weights remain trainable.

    Args:
        model: Model with at least as many features as image channels, changed in place.
    """
    scale, in_chans = model.scale, model.in_chans
    first, last = model.conv_first, model.upsample[0]
    offsets = (torch.arange(scale) + 0.5) / scale - 0.5  # of the subpixels from the pixel center
    # Quadratic Lagrange weights of the pixels at -1, 0 and 1, for each subpixel.
    parabola = torch.stack([offsets * (offsets - 1) / 2, 1 - offsets**2, offsets * (offsets + 1) / 2], dim=1)
    kernels = torch.einsum("ik,jl->ijkl", parabola, parabola).flatten(0, 1)
    with torch.no_grad():
        last.weight.mul_(_FEATURE_SCALE)
        for channel in range(in_chans):
            first.weight[channel] = 0
            first.weight[channel, channel, 1, 1] = 1
            last.weight[:, channel] = 0
            last.weight[channel * scale**2 : (channel + 1) * scale**2, channel] = kernels
        model.conv_body.weight.zero_()


def initialize_from(model: LAMNet, source: str | os.PathLike) -> dict[str, Any]:
    """Load every parameter from a checkpoint whose name and shape match.

    Weights for another number of image channels are adapted first, as for ``create_model(..., pretrained=True)``.
    For another scale, that is all but the last convolution, as in the paper's training for ×3 and ×4. For a model with
    more blocks, the scale α of the additional blocks starts at 0, so that they return their input.

    Args:
        model: Model to initialize, changed in place.
        source: A checkpoint file, or the name of pretrained weights.

    Returns:
        ``taken``: description of the loaded and the other tensors; ``before``: training metadata of the checkpoint,
        if it has any.

    Raises:
        CheckpointError: If the checkpoint cannot be read.
        ModelError: If the name of the weights is unknown.
    """
    path = resolve_weights_path(source)
    checkpoint = read_checkpoint(path)
    source_state, state = adapted_state(checkpoint.state, model.in_chans), dict(model.named_parameters())
    loaded = [key for key, tensor in state.items() if key in source_state and source_state[key].shape == tensor.shape]
    model.load_state_dict({key: source_state[key] for key in loaded}, strict=False)
    sources = {_module_name(key) for key in source_state}
    missing = sorted({_module_name(key) for key in state if key not in loaded})
    identity = [name for name in missing if name.startswith("blocks.") and name not in sources]
    for name in identity:
        nn.init.zeros_(model.get_submodule(name).residual.alpha)
    description = f"{len(loaded)} of {quantity(len(state), 'tensor')} from {path.name}"
    if source_state is not checkpoint.state:
        base = checkpoint.state["conv_first.weight"].shape[1]
        description += f"; adapted from in_chans={base} to in_chans={model.in_chans}"
    for kind, names in (("random", [name for name in missing if name not in identity]), ("identity", identity)):
        description += f"; {kind}: {', '.join(names)}" if names else ""
    return {"taken": description} | ({"before": checkpoint.training} if "recipe" in checkpoint.training else {})


def _module_name(key: str) -> str:
    """Return the block or outer layer that a tensor belongs to: ``"blocks.2"``, ``"upsample"``."""
    parts = key.split(".")
    return ".".join(parts[:2]) if parts[0] == "blocks" else parts[0]
