"""Available memory, memory in use, and memory limits."""

from __future__ import annotations

import re
from pathlib import Path

import psutil
import torch

try:
    import resource
except ImportError:  # Windows
    resource = None

_CGROUP = Path("/sys/fs/cgroup")
RESERVE = 128 * 2**20
"""Bytes reserved for uncounted memory: allocator caches, threads, an encoder's rows."""


def parse_memory(size: int | str) -> int:
    """Parse a number of bytes, or text such as ``"512M"``, ``"4G"`` or ``"1.5 GiB"``.

    K, M, G and T are powers of 1,024, as for ``ulimit`` and containers; KB, MB, GB and TB are powers of 1,000.

    Raises:
        ValueError: If the text is not a memory size.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(?:([kmgt])(i?b)?|b)?", str(size).strip().lower())
    if match is None:
        raise ValueError(f"max_memory must be a number of bytes or a size such as 512M or 4G, got {size!r}")
    number, unit, end = match.groups()
    exponent = " kmgt".index(unit or " ")
    return int(float(number) * (1000 if end == "b" else 1024) ** exponent)


def format_memory(size: float) -> str:
    """Format bytes in M (MiB), rounded up, as accepted by ``parse_memory``."""
    return f"{-(-int(size) // 2**20)}M"


def host_memory(max_memory: int | None = None) -> float:
    """Return the usable bytes of host memory: 80% of the available, within ``max_memory``.

    Args:
        max_memory: Limit of the process's memory in bytes, of which ``RESERVE`` is kept free; None: no limit.
    """
    free = 0.8 * available_memory(torch.device("cpu"))
    return free if max_memory is None else min(free, max_memory - used_memory() - RESERVE)


def used_memory() -> int:
    """Return the bytes of the process's private memory.

    Excludes code and mapped files, which the system can drop and read again.
    """
    info = psutil.Process().memory_info()
    return info.rss - getattr(info, "shared", 0)


def available_memory(device: torch.device) -> float:
    """Return the bytes that can still be allocated on a device, including torch's cached blocks."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return min(psutil.virtual_memory().available, _cgroup_headroom(), _rlimit_data_headroom())


def _cgroup_headroom() -> float:
    """Return the bytes left under a Linux cgroup v2 limit, which psutil ignores."""
    try:
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        statistics = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return limit - used + int(statistics["inactive_file"])  # cached files are reclaimed
    except (OSError, ValueError, KeyError):  # missing file, or "max": no limit
        return float("inf")


def _rlimit_data_headroom() -> float:
    """Return the bytes left under ``ulimit -d``, which counts all private memory on Linux."""
    data = getattr(psutil.Process().memory_info(), "data", None)
    if resource is None or data is None:
        return float("inf")
    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return float("inf") if limit == resource.RLIM_INFINITY else limit - data
