"""How memory for large tensors is taken from the system: in large pages, and kept for the next layer."""

import ctypes
import os
import sys

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # names of mallopt's parameters
_VARIABLES = ("MALLOC_MMAP_", "MALLOC_TRIM_", "GLIBC_TUNABLES")
_LARGEST = 32 * 2**20  # bytes of the largest request that glibc serves from memory it keeps; it allows no more


def configure_allocator() -> None:
    """Spares each layer the page faults of fresh memory; call it before torch allocates.

    Without it, up to a fourth of the time on a Linux CPU goes into them. At most 64 MiB more are kept. Whoever has set
    the allocator by its own variables has done so for a reason: then it is left alone.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # large pages; read by torch at its first large allocation
    if sys.platform != "linux" or any(name.startswith(_VARIABLES) for name in os.environ):
        return
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # not every libc has it
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, 2 * _LARGEST)
