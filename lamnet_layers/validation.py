"""Argument checks. Error messages name the argument, the requirement and the value received."""

from __future__ import annotations

import operator
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from .backend import avoid_stride_sorting


def check_int(name: str, value: object, minimum: int) -> int:
    """Return ``value`` as an int; raise ValueError unless it is an integer ≥ ``minimum``."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < minimum:
        raise ValueError(f"{name} must be an integer ≥ {minimum}, got {value!r}")
    return number


def check_divides(name: str, value: object, divisor_name: str, divisor: int) -> int:
    """Return ``value`` as an int ≥ 1; raise ValueError unless it is a multiple of ``divisor``."""
    number = check_int(name, value, minimum=1)
    if number % divisor:
        raise ValueError(f"{name} must be a multiple of {divisor_name} = {divisor}, got {number}")
    return number


def check_choice(name: str, value: object, choices: tuple) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        allowed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {allowed}, got {value!r}")


def check_feature_map(name: str, x: Tensor, channels: int | None = None) -> None:
    """Raise ValueError unless ``x`` is a floating-point (B, C, H, W) tensor with H, W ≥ 1.

    Args:
        name: Name of the argument, for the error message.
        x: Value to check.
        channels: Required number of channels; None allows any.
    """
    if is_traced(x):
        return
    if torch.compiler.is_compiling():
        avoid_stride_sorting()  # here, since every layer checks its input
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} must be a torch.Tensor, got {type(x).__name__}")
    if x.dim() != 4 or 0 in x.shape[2:]:
        raise ValueError(f"{name} must have shape (B, C, H, W) with H, W ≥ 1, got {tuple(x.shape)}")
    if channels is not None and x.shape[1] != channels:
        raise ValueError(f"{name} must have {channels} channels, got {x.shape[1]} (shape {tuple(x.shape)})")
    if not x.is_floating_point():
        raise ValueError(f"{name} must have a floating-point dtype, got {x.dtype}")


def check_same_shape(name: str, x: Tensor, other_name: str, other: Tensor) -> None:
    """Raise ValueError unless ``x`` has the shape of ``other``, to rule out broadcasting."""
    if not is_traced(x) and x.shape != other.shape:
        raise ValueError(f"{name} must have the shape of {other_name}, {tuple(other.shape)}, got {tuple(x.shape)}")


def is_traced(x: object) -> bool:
    """Return whether ``x`` stands for a tensor in ``torch.fx.symbolic_trace``, without shape, dtype and device."""
    return isinstance(x, Proxy)


def refuse_scripting(self: nn.Module) -> NoReturn:
    """Raise RuntimeError; ``torch.jit.script`` calls a module's ``__prepare_scriptable__``."""
    raise RuntimeError(f"{type(self).__name__} does not support torch.jit.script: use torch.compile or torch.export")
