"""Functions evaluated once, while ``torch.compile`` traces a layer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T", bound=Callable)


def assume_constant_result(function: _T) -> _T:
    """Same as ``torch.compiler.assume_constant_result``, without the seconds that importing Dynamo takes."""
    function._dynamo_marked_constant = True
    return function


@assume_constant_result
def avoid_stride_sorting() -> None:
    """Let Inductor keep the exact strides of views, if it is the compiler.

    Otherwise it sorts strides, and fails to compare symbolic ones: at a second size with gradients, by
    ``cannot determine truth value of Relational`` (pytorch/pytorch#185510).
    """
    config = sys.modules.get("torch._inductor.config")
    if hasattr(config, "strict_output_strides"):  # of the versions that have the bug
        config.strict_output_strides = True
