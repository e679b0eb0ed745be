"""How much memory there is, and how much a network takes."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch
from torch import nn

_FEATURE_MAPS = 20
_CGROUP = Path("/sys/fs/cgroup")


def forward_memory(model: nn.Module, pixels: int) -> int:
    """Estimates the bytes that a forward pass without gradients takes at its peak, weights aside.

    Measured on a CPU in float32 at scale 4, LAMNet takes what 10 to 18 of its feature maps take, at any depth: with 64
    channels 2,600 to 4,600 bytes for each input pixel, most for small images. The estimate is 20 maps.

    Args:
        model: A network; its width is read off ``num_features``, and is 64 where there is none.
        pixels: Input pixels, over the whole batch.
    """
    return _FEATURE_MAPS * getattr(model, "num_features", 64) * 4 * pixels


def available_memory(device: torch.device) -> int:
    """Returns the bytes that can still be allocated on a device, what torch holds in reserve included."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return min(psutil.virtual_memory().available, _left_in_container())


def _left_in_container() -> float:
    """Returns the bytes left under the limit of a Linux control group (version 2), which psutil does not see."""
    try:
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        statistics = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return limit - used + int(statistics["inactive_file"])  # cached files make way
    except (OSError, ValueError, KeyError):  # no such file, or "max" for no limit
        return float("inf")
