"""Settings of the memory allocator."""

from __future__ import annotations

import ctypes
import os
import sys

_MMAP_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -4, -3, -1  # parameters of mallopt
_VARIABLES = ("MALLOC_MMAP_", "MALLOC_TRIM_", "GLIBC_TUNABLES")
_MMAP_MAX_DEFAULT = 65536
_LARGEST = 32 * 2**20  # bytes; glibc's maximum for the mmap threshold


def configure_allocator(keep_all: bool = False) -> None:
    """Reduce page faults of large tensors: use large pages, and keep freed memory for reuse.

    Call it before torch allocates. Without it, page faults take up to a quarter of the time on a Linux CPU. glibc is
    left unchanged if its own environment variables are set.

    Args:
        keep_all: Keep all freed memory instead of up to 64 MiB: each training step uses as much as the one before.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # large pages; read by torch at the first large allocation
    if sys.platform != "linux" or any(name.startswith(_VARIABLES) for name in os.environ):
        return
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # glibc only
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1 if keep_all else 2 * _LARGEST)
        mallopt(_MMAP_MAX, 0 if keep_all else _MMAP_MAX_DEFAULT)
