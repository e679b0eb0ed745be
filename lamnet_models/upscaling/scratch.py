"""Memory-mapped temporary tensors."""

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

_IN_MEMORY = ("tmpfs", "ramfs")  # file systems kept in memory


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, in_file: bool) -> Tensor:
    """Return an uninitialized tensor, in memory or mapped from a temporary file.

    The file is unlinked (on Windows: deleted on close): it disappears with the tensor, even if the process is killed.
    Its disk space is allocated up front, because a disk that fills up later would crash the process.

    Args:
        shape: Shape of the tensor.
        dtype: Data type.
        device: Device; must be the CPU if ``in_file``.
        in_file: Map the tensor from a temporary file.

    Raises:
        LAMNetError: If the disk is too full.
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
    """Return the folder for large temporary files.

    This is ``TMPDIR`` or the system's temporary folder, or ``/var/tmp`` if the latter is kept in memory, as ``/tmp`` is
    on many systems.
    """
    folder, large = Path(tempfile.gettempdir()), Path("/var/tmp")
    if "TMPDIR" not in os.environ and os.access(large, os.W_OK) and _is_memory_backed(folder):
        return large
    return folder


def _is_memory_backed(folder: Path) -> bool:
    file_systems = {disk.mountpoint: disk.fstype for disk in psutil.disk_partitions(all=True)}
    mountpoint = next((str(path) for path in (folder, *folder.parents) if str(path) in file_systems), "")
    return file_systems.get(mountpoint) in _IN_MEMORY


def _disk_full_message(size: int, folder: Path, free: int) -> str:
    return (
        f"memory is short, and a temporary file of {size / 1e9:.2f} GB does not fit in {folder} ({free / 1e9:.2f} GB "
        "free); free disk space or set TMPDIR to another folder"
    )
