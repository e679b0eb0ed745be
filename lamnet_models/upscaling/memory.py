"""How much memory there is, how much of it may be taken, and how much is taken already."""

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
"""Bytes held back for what nobody counts: memory that the allocator keeps, threads, an encoder's rows."""


def parse_memory(size: int | str) -> int:
    """Returns the bytes that a size names: a number of bytes, or text such as ``"512M"``, ``"4G"`` or ``"1.5 GiB"``.

    K, M, G and T are powers of 1,024, as for ``ulimit`` and containers; KB, MB, GB and TB are powers of 1,000.

    Raises:
        ValueError: If it names none.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(?:([kmgt])(i?b)?|b)?", str(size).strip().lower())
    if match is None:
        raise ValueError(f"max_memory is {size!r}, but it must be a number of bytes, or a size such as 512M or 4G")
    number, unit, end = match.groups()
    exponent = " kmgt".index(unit or " ")
    return int(float(number) * (1000 if end == "b" else 1024) ** exponent)


def format_memory(size: float) -> str:
    """Returns so many bytes in the form of ``parse_memory``, in M, rounded up."""
    return f"{-(-int(size) // 2**20)}M"


def host_memory(max_memory: int | None = None) -> float:
    """Returns the bytes that may still be taken in the host's memory.

    Args:
        max_memory: Most bytes that the process may have; some are held back for what nobody counts.
    """
    left = 0.8 * available_memory(torch.device("cpu"))
    return left if max_memory is None else min(left, max_memory - used_memory() - RESERVE)


def used_memory() -> int:
    """Returns the bytes of memory that the process has for itself.

    That leaves out code and mapped files, which the system can drop and read again.
    """
    info = psutil.Process().memory_info()
    return info.rss - getattr(info, "shared", 0)


def available_memory(device: torch.device) -> float:
    """Returns the bytes that can still be allocated on a device, what torch holds in reserve included."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return min(psutil.virtual_memory().available, _cgroup_headroom(), _rlimit_data_headroom())


def _cgroup_headroom() -> float:
    """Returns the bytes left under the limit of a Linux control group (version 2), which psutil does not see."""
    try:
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        statistics = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return limit - used + int(statistics["inactive_file"])  # cached files make way
    except (OSError, ValueError, KeyError):  # no such file, or "max" for no limit
        return float("inf")


def _rlimit_data_headroom() -> float:
    """Returns the bytes left under the limit that ``ulimit -d`` sets, which on Linux counts all private memory."""
    data = getattr(psutil.Process().memory_info(), "data", None)
    if resource is None or data is None:
        return float("inf")
    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return float("inf") if limit == resource.RLIM_INFINITY else limit - data
