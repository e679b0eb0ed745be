"""Where to compute, and what to keep away from there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def without_onednn(disable: bool = True) -> Iterator[None]:
    """Keeps a CPU's convolutions from oneDNN, where disable: for float16.

    Its depthwise convolutions of few channels in float16 never return on some processors (seen: torch 2.14, AVX-512).
    """
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = before and not disable
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before
