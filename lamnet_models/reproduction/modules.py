"""Real token mixers and feed-forward networks of the three methods of tables 1 and 2, counted."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache

from torch import nn

from lamnet_layers import DGFN, GDFN, MHDLSA, ULM, FocalWindow

from ..complexity import count_operations

HEIGHT, WIDTH, CHANNELS, GROUPS = 720, 1280, 64, 4
"""The paper's example, but for G, which it prints as 64."""


@dataclass(frozen=True)
class ModuleCount:
    """A module, counted, and what parts the count from the formula.

    Attributes:
        method: The method that it is from.
        part: ``"token mixer"`` or ``"feed-forward"``.
        name: What it is.
        k: Its K: the window's side or, with a focal window, the number of taps; None where it has none.
        params: Number of parameters.
        macs: Multiply-accumulates of convolutions and matrix products at each pixel.
        params_terms: Amounts that add up to ``params`` minus the formula, by what they are.
        macs_terms: The same for ``macs``.
    """

    method: str
    part: str
    name: str
    k: int | None
    params: int
    macs: float
    params_terms: dict[str, float]
    macs_terms: dict[str, float]


@cache
def count_modules() -> tuple[ModuleCount, ...]:
    """Counts SwinIR's modules, where spandrel is installed, DLGSANet's by our layers, and ours, on 64 channels."""
    return (*_swinir(), *_dlgsanet(), *_lamnet())


def _count(
    method: str,
    part: str,
    name: str,
    k: int | None,
    module: nn.Module,
    shape: tuple[int, ...],
    params: dict,
    macs: dict,
) -> ModuleCount:
    total = sum(parameter.numel() for parameter in module.parameters())
    each = count_operations(module, shape)[0] / (HEIGHT * WIDTH)
    return ModuleCount(method, part, name, k, total, each, params, macs)


def _swinir() -> list[ModuleCount]:
    try:
        from spandrel.architectures.SwinIR.__arch.SwinIR import Mlp, WindowAttention
    except ImportError:
        return []
    c, k, pixels = CHANNELS, 8, HEIGHT * WIDTH
    with warnings.catch_warnings():  # of a torch function that it calls in an old way
        warnings.simplefilter("ignore")
        attention, mlp = WindowAttention(c, (k, k), GROUPS), Mlp(c, 2 * c)
    params = {
        "biases": 4 * c,
        "no table of K⁴ position biases": -(k**4),
        "one of (2K−1)² for each head instead": GROUPS * (2 * k - 1) ** 2,
    }
    return [
        _count(
            "SwinIR", "token mixer", "spandrel's WindowAttention", k, attention, (pixels // k**2, k**2, c), params, {}
        ),
        _count(
            "SwinIR", "feed-forward", "spandrel's Mlp", None, mlp, (1, pixels, c), {"biases": 3 * c}, {"GELU": -2 * c}
        ),
    ]


def _dlgsanet() -> list[ModuleCount]:
    c, k, shape = CHANNELS, 7, (1, CHANNELS, HEIGHT, WIDTH)
    # The formula's weights are predicted at half the width, not at a quarter, as the text of DLGSANet has it.
    mixer, feed_forward = MHDLSA(c, GROUPS, k, hidden_channels=c // 2), GDFN(c)
    aggregation = {"the dynamic convolution, which is no convolution to a counter": -(k**2) * c}
    biases = {"biases": c + GROUPS * k**2}
    return [
        _count("DLGSANet", "token mixer", "MHDLSA, hidden_channels=32", k, mixer, shape, biases, aggregation),
        _count("DLGSANet", "feed-forward", "GDFN", None, feed_forward, shape, {"biases": 5 * c}, {"gate": -2 * c}),
    ]


def _lamnet() -> list[ModuleCount]:
    c, shape = CHANNELS, (1, CHANNELS, HEIGHT, WIDTH)
    counted = []
    for window in (FocalWindow(), FocalWindow((1,), (4,))):
        k, pixels = window.taps, window.size
        halved = {"bottleneck of C²/4, not C²/2": -(c**2) / 4}
        wider = {f"depthwise kernels as wide as the window, {pixels}": (pixels - k) * c} if pixels > k else {}
        params = {**halved, **wider, "biases": 3.75 * c + 2 * GROUPS * k}
        macs = {**halved, **wider, "the aggregation, which is no convolution": -k * c, "IEM's products": c}
        counted.append(
            _count(
                "LAMNet",
                "token mixer",
                f"ULM, window of {pixels} pixels",
                k,
                ULM(c, GROUPS, window),
                shape,
                params,
                macs,
            )
        )
    counted.append(_count("LAMNet", "feed-forward", "DGFN", None, DGFN(c), shape, {"biases": 5 * c}, {"gates": -3 * c}))
    return counted
