"""Checks of arguments, each naming the argument, what came and what is allowed."""

from __future__ import annotations

import operator

from torch import Tensor


def check_int(name: str, value: object, minimum: int) -> int:
    """Returns ``value`` as an int, or raises ValueError unless it is an integer of at least ``minimum``."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < minimum:
        raise ValueError(f"{name} is {value!r}, but it must be an integer of at least {minimum}")
    return number


def check_divides(name: str, value: object, by_name: str, by: int) -> int:
    """Returns ``value`` as an int ≥ 1, or raises ValueError unless ``by`` divides it."""
    number = check_int(name, value, minimum=1)
    if number % by:
        raise ValueError(f"{name} is {number}, but it must be a multiple of {by_name} = {by}")
    return number


def check_choice(name: str, value: object, choices: tuple) -> None:
    """Raises ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        allowed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} is {value!r}, but it must be one of {allowed}")


def check_feature_map(name: str, x: Tensor, channels: int | None = None) -> None:
    """Raises ValueError unless ``x`` is a floating-point (B, C, H, W), H, W ≥ 1, with the given number of channels."""
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} is of type {type(x).__name__}, but it must be a torch.Tensor")
    if x.dim() != 4 or 0 in x.shape[2:]:
        raise ValueError(f"{name} has shape {tuple(x.shape)}, but it must have 4 dimensions (B, C, H, W), H and W ≥ 1")
    if channels is not None and x.shape[1] != channels:
        raise ValueError(f"{name} has {x.shape[1]} channels (shape {tuple(x.shape)}), but it must have {channels}")
    if not x.is_floating_point():
        raise ValueError(f"{name} is of type {x.dtype}, but it must be of a floating-point type")
