"""Where to compute."""

from __future__ import annotations

import torch


def resolve_device(device: torch.device | str) -> torch.device:
    """Returns a device that is there: the named one, or for ``"auto"`` the first of CUDA, Apple's MPS and the CPU.

    Raises:
        ValueError: If there is no such device.
    """
    accelerators = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if device == "auto":
        device = next((name for name, is_available in accelerators.items() if is_available()), "cpu")
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:  # the latter from a torch built without CUDA
        names = ["auto", "cpu", *(name for name, is_available in accelerators.items() if is_available())]
        raise ValueError(
            f"device is {str(device)!r}, but on this machine it must be one of {', '.join(names)}"
        ) from error
