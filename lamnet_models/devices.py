"""Device resolution and workarounds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def resolve_device(device: torch.device | str) -> torch.device:
    """Return an available device; ``"auto"`` is the first available of CUDA, MPS and CPU.

    Raises:
        ValueError: If the device is unknown or not available.
    """
    accelerators = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if device == "auto":
        device = next((name for name, is_available in accelerators.items() if is_available()), "cpu")
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:  # AssertionError from a torch built without CUDA
        names = ["auto", "cpu", *(name for name, is_available in accelerators.items() if is_available())]
        raise ValueError(f"device must be one of {', '.join(names)} on this machine, got {str(device)!r}") from error


@contextmanager
def without_onednn(disable: bool = True) -> Iterator[None]:
    """Context manager that disables oneDNN if ``disable``; used for float16 on a CPU.

    The float16 depthwise convolutions of oneDNN with few channels hang on some processors (torch 2.14, AVX-512).
    """
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = before and not disable
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before
