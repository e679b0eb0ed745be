"""Backends: availability and selection; what layers need of ``torch.compile``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import TypeVar

import torch
from torch import nn

BACKENDS = ("eager", "native", "triton", "fused")
"""Backends.

- ``"eager"``: plain PyTorch, on all devices.
- ``"native"``: C++ kernels for whole layers on CPUs, for float32 and bfloat16. They compute in float32; with bfloat16
  tensors or autocast, matrix products are in bfloat16 if the processor has AMX. Other dtypes and layers run eagerly.
- ``"triton"``: Triton kernels for the aggregation, on CUDA devices.
- ``"fused"``: as ``"triton"``, plus fused kernels when gradients are disabled. Opt-in, never selected by default.
"""

BACKEND_VARIABLE = "LAMNET_BACKEND"
"""Environment variable that sets the backend if neither an argument nor a context does."""

_INTERPRETER = "TRITON_INTERPRET"  # Triton's variable: runs kernels in Python, on any device

_context_backend: ContextVar[str | None] = ContextVar("lamnet_backend", default=None)


_T = TypeVar("_T", bound=Callable)


def assume_constant_result(function: _T) -> _T:
    """Same as ``torch.compiler.assume_constant_result``, without the seconds that importing Dynamo takes."""
    function._dynamo_marked_constant = True
    return function


@contextmanager
def use_backend(backend: str) -> Iterator[None]:
    """Context manager that sets the backend of calls without a ``backend`` argument.

    Functions compiled inside the context keep the backend.

    Args:
        backend: ``"eager"``, ``"native"``, ``"triton"`` or ``"fused"``.

    Raises:
        ValueError: If the backend is unknown.
    """
    token = _context_backend.set(_validated(backend, "backend"))
    try:
        yield
    finally:
        _context_backend.reset(token)


def set_backend(module: nn.Module, backend: str | None) -> None:
    """Set the ``backend`` argument of all layers of a module."""
    check_backend(backend)
    for layer in module.modules():
        if hasattr(layer, "backend"):
            layer.backend = backend


def available_backends(device: torch.device | str | None = None) -> tuple[str, ...]:
    """Return the names of the backends that can run on a device.

    Args:
        device: Device or device type; None for CUDA if available, else the CPU.
    """
    return tuple(backend for backend in BACKENDS if unavailable_reason(backend, device) is None)


def unavailable_reason(backend: str, device: torch.device | str | None = None) -> str | None:
    """Return the reason why a backend cannot run on a device, or None if it can.

    Args:
        backend: ``"eager"``, ``"native"``, ``"triton"`` or ``"fused"``.
        device: Device or device type; None for CUDA if available, else the CPU.

    Raises:
        ValueError: If the backend is unknown.
    """
    if _validated(backend, "backend") == "eager":
        return None
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(device)
    if backend == "native":
        from .ops.native import library

        if device.type not in ("cpu", "meta"):  # meta tensors are computed eagerly
            return f"it needs CPU tensors, got {device.type}"
        return library.unavailable_reason()
    if find_spec("triton") is None:
        return "Triton is not installed"
    if os.environ.get(_INTERPRETER, "0").lower() in ("1", "true", "on", "yes", "y"):
        return None
    if device.type != "cuda":
        return f"the kernels need CUDA tensors, got {device.type}"
    if not torch.cuda.is_available():
        return "no CUDA device is available"
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < (7, 0):
        return "Triton needs a GPU with compute capability ≥ 7.0"
    return None


@assume_constant_result
def select_backend(backend: str | None, device_type: str) -> str:
    """Return the backend to run on a device.

    Args:
        backend: The ``backend`` argument, or None.
        device_type: Device type of the tensors.

    Raises:
        ValueError: If the backend is unknown.
        RuntimeError: If the requested backend cannot run; the message has the reason.
    """
    backend = check_backend(backend) or _context_backend.get()
    if backend is None and (variable := os.environ.get(BACKEND_VARIABLE)):
        backend = _validated(variable, BACKEND_VARIABLE)
    if backend is None:  # the Triton interpreter is for tests and never selected by default
        default = {"cpu": "native", "cuda": "triton"}.get(device_type, "eager")
        return default if unavailable_reason(default, device_type) is None else "eager"
    if (reason := unavailable_reason(backend, device_type)) is not None:
        raise RuntimeError(f"backend {backend!r} cannot run: {reason}")
    return backend


def check_backend(backend: str | None) -> str | None:
    """Return ``backend`` after validation.

    Raises:
        ValueError: If the backend is unknown.
    """
    return backend if backend is None else _validated(backend, "backend")


def _validated(backend: str, name: str) -> str:
    if backend not in BACKENDS:
        raise ValueError(f"{name} must be one of {', '.join(BACKENDS)}, got {backend!r}")
    return backend


@assume_constant_result
def avoid_stride_sorting() -> None:
    """Let Inductor keep the exact strides of views, if it is the compiler.

    Otherwise it sorts strides, and fails to compare symbolic ones: at a second size with gradients, by
    ``cannot determine truth value of Relational`` (pytorch/pytorch#185510).
    """
    config = sys.modules.get("torch._inductor.config")
    if hasattr(config, "strict_output_strides"):  # of the versions that have the bug
        config.strict_output_strides = True
