"""Atomic saving and exact loading of training states."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import TrainingError
from ..files import atomic_path

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
    for old in _state_files(folder)[keep:]:
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
            raise TrainingError(f"{folder}: none of {len(paths)} states can be read")
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
