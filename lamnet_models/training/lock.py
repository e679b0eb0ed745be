"""Lock on the folder of a run."""

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
