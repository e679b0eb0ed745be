"""Which backend runs: asked for by argument, by context, by environment, or chosen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec

import torch
from torch import nn

BACKENDS = ("eager", "triton", "fused")
"""Plain PyTorch, on every device; kernels in Triton for the aggregation, on CUDA devices; these and, where no gradients
are wanted, kernels that take in what stands beside it. The last is never chosen, only asked for."""

VARIABLE = "LAMNET_BACKEND"
"""Environment variable: the backend where neither an argument nor a context asks for one."""

_INTERPRETER = "TRITON_INTERPRET"  # Triton's own: runs kernels as Python, on any device

_in_context: ContextVar[str | None] = ContextVar("lamnet_backend", default=None)


@contextmanager
def use_backend(backend: str) -> Iterator[None]:
    """Asks for a backend within a block of code, wherever no argument does.

    What is compiled within keeps it.

    Args:
        backend: ``"eager"``, ``"triton"`` or ``"fused"``.

    Raises:
        ValueError: If there is no such backend.
    """
    token = _in_context.set(_known(backend, "backend"))
    try:
        yield
    finally:
        _in_context.reset(token)


def set_backend(module: nn.Module, backend: str | None) -> None:
    """Sets the backend of all layers of a module, as their argument would have."""
    check_backend(backend)
    for layer in module.modules():
        if hasattr(layer, "backend"):
            layer.backend = backend


def select(backend: str | None, device_type: str) -> str:
    """Returns the backend to run on a device.

    Args:
        backend: The one asked for by argument, or None.
        device_type: Type of the device that the tensors are on.

    Raises:
        ValueError: If there is no such backend.
        RuntimeError: If it was asked for and cannot run; the message says why.
    """
    backend = check_backend(backend) or _in_context.get()
    if backend is None and (variable := os.environ.get(VARIABLE)):
        backend = _known(variable, VARIABLE)
    if backend is None:  # the interpreter is for tests, and never chosen
        return "triton" if device_type == "cuda" and why_not_triton(device_type) is None else "eager"
    if backend != "eager" and (reason := why_not_triton(device_type)) is not None:
        raise RuntimeError(f"backend {backend!r} cannot run: {reason}")
    return backend


# What torch.compiler.assume_constant_result sets, without the seconds that importing the compiler takes.
select._dynamo_marked_constant = True


def is_fused(backend: str | None, device_type: str) -> bool:
    """Returns whether kernels shall take in what stands beside the aggregation: if asked for, and without gradients.

    Raises:
        ValueError: As ``select`` does.
        RuntimeError: As ``select`` does.
    """
    return select(backend, device_type) == "fused" and not torch.is_grad_enabled()


def why_not_triton(device_type: str) -> str | None:
    """Returns why the kernels cannot run on a device, or None if they can."""
    if find_spec("triton") is None:
        return "Triton is not installed"
    if os.environ.get(_INTERPRETER, "0").lower() in ("1", "true", "on", "yes", "y"):
        return None
    if device_type != "cuda":
        return f"the tensors are on the device {device_type}, and the kernels need CUDA"
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    if torch.version.hip is None and torch.cuda.get_device_capability() < (7, 0):
        return "Triton needs a GPU of compute capability 7.0 or later"
    return None


def check_backend(backend: str | None) -> str | None:
    """Returns what was asked for by an argument.

    Raises:
        ValueError: If there is no such backend.
    """
    return backend if backend is None else _known(backend, "backend")


def _known(backend: str, name: str) -> str:
    if backend not in BACKENDS:
        raise ValueError(f"{name} is {backend!r}, but it must be one of {', '.join(BACKENDS)}")
    return backend
