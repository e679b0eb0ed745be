"""Room for tensors that memory may be too small for: in temporary files that nothing can leave behind."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from math import prod
from pathlib import Path

import psutil
import torch
from torch import Tensor

from ..errors import LAMNetError

_IN_MEMORY = ("tmpfs", "ramfs")  # file systems that are none


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, in_file: bool) -> Tensor:
    """Returns an uninitialised tensor, mapped from a temporary file if so asked.

    The file has no name (on Windows it is deleted when it is closed) and goes with the tensor, even when the process is
    killed. All its bytes are taken from the disk at once: later a full disk could only end the process.

    Args:
        shape: Its shape.
        dtype: Its type.
        device: Where it shall be; the CPU if ``in_file``.
        in_file: Whether in a file.

    Raises:
        LAMNetError: If the disk has no room.
    """
    if not in_file:
        return torch.empty(shape, dtype=dtype, device=device)
    size, folder = prod(shape) * dtype.itemsize, scratch_folder()
    if size > 0.95 * (free := shutil.disk_usage(folder).free):
        raise LAMNetError(_disk_full_message(size, folder, free))
    with tempfile.TemporaryFile(dir=folder, prefix="lamnet-") as file:
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            mapped = mmap.mmap(file.fileno(), size)
        except OSError:
            raise LAMNetError(_disk_full_message(size, folder, shutil.disk_usage(folder).free)) from None
    return torch.frombuffer(mapped, dtype=dtype).view(shape)


def scratch_folder() -> Path:
    """Returns the folder for large temporary files.

    It is the one for temporary files (``TMPDIR`` names another), unless that lies in memory itself, as ``/tmp`` does on
    many systems, and there is the usual one for large files, ``/var/tmp``.
    """
    folder, large = Path(tempfile.gettempdir()), Path("/var/tmp")
    if "TMPDIR" not in os.environ and os.access(large, os.W_OK) and _is_memory_backed(folder):
        return large
    return folder


def _is_memory_backed(folder: Path) -> bool:
    kinds = {disk.mountpoint: disk.fstype for disk in psutil.disk_partitions(all=True)}
    place = next((str(path) for path in (folder, *folder.parents) if str(path) in kinds), "")
    return kinds.get(place) in _IN_MEMORY


def _disk_full_message(size: int, folder: Path, free: int) -> str:
    return (
        f"memory is short, and {size / 1e9:.2f} GB do not fit in {folder}, where {free / 1e9:.2f} GB are free: make "
        "room, or name another folder in TMPDIR"
    )
