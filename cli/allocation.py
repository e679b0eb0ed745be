"""Allocator settings for large tensors on a CPU."""

import ctypes
import os
import sys

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # parameters of mallopt
_VARIABLES = ("MALLOC_MMAP_", "MALLOC_TRIM_", "GLIBC_TUNABLES")
_LARGEST = 32 * 2**20  # bytes; glibc's maximum for the mmap threshold


def configure_allocator() -> None:
    """Reduce page faults of large tensors: use large pages, and keep freed memory for reuse.

    Call it before torch allocates. Without it, page faults take up to a quarter of the time on a Linux CPU. Up to 64
    MiB of freed memory are kept. glibc is left unchanged if its own environment variables are set.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # large pages; read by torch at the first large allocation
    if sys.platform != "linux" or any(name.startswith(_VARIABLES) for name in os.environ):
        return
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # glibc only
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, 2 * _LARGEST)
