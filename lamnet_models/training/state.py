"""States of a run: saved whole or not at all, and loaded to the last bit."""

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
    """Writes a state, then removes all but the last ones.

    Args:
        folder: Where states are kept.
        step: Steps done.
        state: What to keep: tensors, numbers, texts, in lists and dictionaries.
        keep: How many states to keep.

    Raises:
        OSError: If it cannot be written; the ones before it are left as they were.
    """
    folder.mkdir(exist_ok=True)
    path = write_state(folder, {**state, "version": STATE_VERSION, "step": step, "random": random_state()})
    for old in _state_files(folder)[keep:]:
        old.unlink(missing_ok=True)
    return path


def write_state(folder: Path, content: dict[str, Any]) -> Path:
    """Writes a complete state, as [`load_state`] returns it, into an existing folder.

    Raises:
        OSError: If it cannot be written.
    """
    path = folder / f"step_{content['step']:09d}.pt"
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch's zip writer hides the disk's error behind its own
            raise OSError(f"{path}: cannot be written ({str(error).partition(chr(10))[0]})") from error
    return path


def load_state(folder: Path) -> dict[str, Any] | None:
    """Returns the newest state that can be read, or None if the folder has no states.

    The run may be going on: if a state is deleted before it is read, the folder is listed again.

    Raises:
        TrainingError: If there are states, but none can be read.
    """
    for _ in range(_MAX_ATTEMPTS):
        found = _state_files(folder)
        for path in found:
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
            except FileNotFoundError:
                break
            except Exception:  # torch raises whatever damaged bytes lead it to
                continue
            if state.get("version") != STATE_VERSION:
                raise TrainingError(f"{path}: saved by another version of LAMNet")
            return state
        else:
            if not found:
                return None
            raise TrainingError(f"{folder}: none of its {len(found)} states can be read")
        time.sleep(0.05)
    raise TrainingError(f"{folder}: its states were deleted while they were read")


def random_state() -> dict[str, Any]:
    """Returns the state of every random generator of this process."""
    kind, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [kind, keys.tolist(), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Puts every random generator of this process into a state."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _state_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("step_*.pt"), reverse=True)
