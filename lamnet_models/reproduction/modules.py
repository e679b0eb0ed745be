"""Counted costs of the modules compared in tables 1 and 2."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache, partial

from torch import nn

from lamnet_layers import DGFN, ULM, FocalSeparableAttention, FocalWindow

from ..cost import count_operations
from ..paper.ablations import GDFN, MHDLSA

HEIGHT, WIDTH, CHANNELS, GROUPS = 720, 1280, 64, 4
"""Sizes of the paper's example, except G, which it states as 64."""


@dataclass(frozen=True)
class ModuleCount:
    """Counted cost of a module, and its difference from the formula.

    Attributes:
        method: The method.
        part: ``"token mixer"`` or ``"feed-forward"``.
        name: Description of the module.
        k: K: the window side or, with a focal window, the number of taps; None without a window.
        params: Number of parameters.
        macs: Multiply-accumulates of convolutions and matrix products per pixel.
        params_terms: Terms that add up to ``params`` minus the formula, by description.
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
    """Count modules of SwinIR (if spandrel is installed), DLGSANet and LAMNet, 64 channels."""
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
    macs_per_pixel = count_operations(module, shape)[0] / (HEIGHT * WIDTH)
    return ModuleCount(method, part, name, k, total, macs_per_pixel, params, macs)


def _swinir() -> list[ModuleCount]:
    try:
        from spandrel.architectures.SwinIR.__arch.SwinIR import Mlp, WindowAttention
    except ImportError:
        return []
    c, k, pixels = CHANNELS, 8, HEIGHT * WIDTH
    with warnings.catch_warnings():  # deprecated call of a torch function
        warnings.simplefilter("ignore")
        attention, mlp = WindowAttention(c, (k, k), GROUPS), Mlp(c, 2 * c)
    params = {
        "biases": 4 * c,
        "K⁴ position biases of the formula": -(k**4),
        "(2K−1)² position biases per head": GROUPS * (2 * k - 1) ** 2,
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
    # The formula predicts weights at half the width; DLGSANet's text states a quarter.
    mixer, feed_forward = MHDLSA(c, GROUPS, k, hidden_dim=c // 2), GDFN(c)
    aggregation = {"dynamic convolution (not counted)": -(k**2) * c}
    biases = {"biases": c + GROUPS * k**2}
    return [
        _count("DLGSANet", "token mixer", "MHDLSA, hidden_dim=32", k, mixer, shape, biases, aggregation),
        _count("DLGSANet", "feed-forward", "GDFN", None, feed_forward, shape, {"biases": 5 * c}, {"gate": -2 * c}),
    ]


def _lamnet() -> list[ModuleCount]:
    c, shape = CHANNELS, (1, CHANNELS, HEIGHT, WIDTH)
    counted = []
    for window in (FocalWindow(), FocalWindow((1,), (4,))):
        k, pixels = window.taps, window.size
        halved = {"bottleneck of C²/4 instead of C²/2": -(c**2) / 4}
        wider = {f"depthwise kernels of {pixels} instead of K": (pixels - k) * c} if pixels > k else {}
        params = {**halved, **wider, "biases": 3.75 * c + 2 * GROUPS * k}
        macs = {**halved, **wider, "aggregation (not counted)": -k * c, "IEM products": c}
        counted.append(
            _count(
                "LAMNet",
                "token mixer",
                f"ULM, window of {pixels} pixels",
                k,
                ULM(c, partial(FocalSeparableAttention, num_heads=GROUPS, window=window)),
                shape,
                params,
                macs,
            )
        )
    counted.append(_count("LAMNet", "feed-forward", "DGFN", None, DGFN(c), shape, {"biases": 5 * c}, {"gates": -3 * c}))
    return counted
