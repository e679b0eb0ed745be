"""Lock on a run's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout

from ..errors import TrainingError


@contextmanager
def lock_folder(folder: Path, state: PartialState, on_message: Callable[[str], None]) -> Iterator[None]:
    """Keep other runs out of a folder while the block runs.

    The main process holds an operating system lock on ``folder/.lock``, which ends with the process, however it ends.
    The file itself stays. A folder that the block leaves empty is removed.

    Args:
        folder: The run's folder; created if missing.
        state: The run's processes. All of them raise if the main process cannot lock the folder.
        on_message: Called with a warning if the file system does not support locks.

    Raises:
        TrainingError: If another process trains in the folder.
        OSError: If the folder cannot be created.
    """
    problem = [None]
    path = folder / ".lock"
    # No soft lock in place of a missing one: it would outlive a killed process.
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
                "stop that one, or choose another folder"
            ]
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            on_message(f"warning: {path}: cannot be locked ({reason}); make sure that no other run uses this folder")
    try:
        broadcast_object_list(problem)
        if problem[0]:
            raise TrainingError(problem[0])
        yield
    finally:
        if created and all(entry == path for entry in folder.iterdir()):
            with suppress(OSError):
                # While locked: a process that has opened it already finds it deleted, and opens a new one.
                path.unlink(missing_ok=True)
                for parent in created:
                    parent.rmdir()
        lock.release()
