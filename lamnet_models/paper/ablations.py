"""Ablations of the paper's table 4: layers that replace those of LAMNet, and their training."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamnet_layers import FocalWindow
from lamnet_layers.validation import check_feature_map, check_int
from lamnet_layers.window import WindowLike

from ..errors import TrainingError, quantity

if TYPE_CHECKING:
    from ..training import TrainingResult


def find_layer(name: str, num_heads: int, window: WindowLike, hidden_dim: int | None) -> Callable[..., nn.Module]:
    """Return the layer with the given name and those of LAMNet's arguments that it takes.

    Args:
        name: ``"mhdlsa"``, ``"gdfn"`` or ``"ffn"``.
        num_heads: Number of heads of MHDLSA.
        window: Focal window of cells of one pixel, for MHDLSA; None for its default of 7×7 pixels.
        hidden_dim: Hidden channels of GDFN and FFN; None for their default.
    """
    if name == "mhdlsa":
        return partial(MHDLSA, num_heads=num_heads, kernel_size=_kernel_size(window))
    return partial({"gdfn": GDFN, "ffn": FFN}[name], hidden_dim=hidden_dim)


class MHDLSA(nn.Module):
    """Multi-Head Dynamic Local Self-Attention: depthwise convolution with per-pixel kernels.

    ``v = Conv1×1(x); weights = Conv1×1(DWConv K×K(Conv1×1(v)))``, without activation or norm;
    ``Conv1×1(dynamic K×K convolution of v with weights)``. The channels of a head share weights. The cost is quadratic
    in K; that of [`FocalSeparableAttention`][lamnet_layers.FocalSeparableAttention] is linear in the window size.

    Source: Li et al., "DLGSANet: Lightweight Dynamic Local and Global Self-Attention Networks for Image
    Super-Resolution" (2023), its dynamic local attention; the row FSA → MHDLSA of the paper's table 4.

    Args:
        dim: Number of channels D.
        num_heads: Number of heads G, at most D. If G does not divide D, the first heads have one channel more than the
            others.
        kernel_size: Side K of the window in pixels; odd.
        hidden_dim: Hidden channels of the weight prediction; None for ⌊D/4⌋, at least 1.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        (B, D, H, W) → (B, D, H, W), any H, W ≥ 1. The input is zero-padded.

    Raises:
        ValueError: If an argument is out of range or the input has the wrong shape.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 4,
        kernel_size: int = 7,
        hidden_dim: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.dim = check_int("dim", dim, minimum=1)
        self.num_heads = check_int("num_heads", num_heads, minimum=1)
        self.kernel_size = check_int("kernel_size", kernel_size, minimum=1)
        if self.num_heads > self.dim:
            raise ValueError(f"num_heads must be at most dim = {dim}, got {num_heads}")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        if hidden_dim is None:
            hidden_dim = max(dim // 4, 1)
        hidden = check_int("hidden_dim", hidden_dim, minimum=1)
        factory = {"device": device, "dtype": dtype}
        self.proj_in = nn.Conv2d(dim, dim, 1, bias=False, **factory)
        self.reduce = nn.Conv2d(dim, hidden, 1, **factory)
        self.depthwise = nn.Conv2d(hidden, hidden, kernel_size, padding=kernel_size // 2, groups=hidden, **factory)
        self.expand = nn.Conv2d(hidden, num_heads * kernel_size**2, 1, **factory)
        self.proj_out = nn.Conv2d(dim, dim, 1, bias=False, **factory)

    @property
    def window(self) -> FocalWindow:
        """Focal window equivalent to the kernel along each axis."""
        radius = self.kernel_size // 2
        return FocalWindow((1,), (radius,)) if radius else FocalWindow((), ())

    @property
    def receptive_radius(self) -> tuple[int, int]:
        """Rows and columns on each side that a pixel depends on."""
        return (self.window.radius, self.window.radius)

    def predict(self, v: Tensor) -> Tensor:
        """Return per-pixel kernels, (B, G·K², H, W); channel g·K² + k is tap k of head g, row-major."""
        return self.expand(self.depthwise(self.reduce(v)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended features, (B, D, H, W)."""
        check_feature_map("x", x, self.dim)
        v = self.proj_in(x)
        return self.proj_out(self._convolve(v, self.predict(v)))

    def _convolve(self, v: Tensor, weights: Tensor) -> Tensor:
        """Convolve ``v`` with the kernels of each pixel."""
        radius, (height, width) = self.kernel_size // 2, v.shape[2:]
        padded = F.pad(v.contiguous(), (radius,) * 4)
        weights = weights.unflatten(1, (self.num_heads, -1))
        size, remainder = divmod(self.dim, self.num_heads)
        counts = (remainder, self.num_heads - remainder)  # heads with size + 1 channels, heads with size channels
        channels = (remainder * (size + 1), (self.num_heads - remainder) * size)
        results = []
        for part, kernels in zip(padded.split(channels, dim=1), weights.split(counts, dim=1), strict=True):
            if kernels.shape[1] == 0:
                continue
            part = part.unflatten(1, (kernels.shape[1], -1))
            total = None
            for tap, (row, column) in enumerate(product(range(self.kernel_size), repeat=2)):
                shifted, weight = part[..., row : row + height, column : column + width], kernels[:, :, None, tap]
                total = shifted * weight if total is None else torch.addcmul(total, shifted, weight)
            results.append(total.flatten(1, 2))
        return torch.cat(results, dim=1)


def _kernel_size(window: WindowLike) -> int:
    window = FocalWindow((1,), (3,)) if window is None else FocalWindow.of(window)
    if any(stride > 1 for stride in window.strides):
        raise ValueError(
            f"window must have cells of one pixel for attn_layer='mhdlsa', such as ((1,), (3,)), got {window}"
        )
    return window.size


class GDFN(nn.Module):
    """Gated-Dconv Feed-forward Network, cross-gate only.

    ``x1, x2 = DWConv3×3(Conv1×1(x))``; ``Conv1×1(GELU(x1)·x2)``.

    Source: Zamir et al., "Restormer" (2022); the row DGFN → GDFN of the paper's table 4.

    Args:
        dim: Number of channels C.
        hidden_dim: Number of channels h of each half; ``dim`` if None.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        (B, C, H, W) → (B, C, H, W).

    Raises:
        ValueError: If an argument is below 1 or the input has the wrong shape.
    """

    receptive_radius = (1, 1)

    def __init__(
        self,
        dim: int,
        hidden_dim: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.dim = check_int("dim", dim, minimum=1)
        hidden = dim if hidden_dim is None else check_int("hidden_dim", hidden_dim, minimum=1)
        self.hidden_dim = hidden
        self.proj_in = nn.Conv2d(dim, 2 * hidden, 1, device=device, dtype=dtype)
        self.depthwise = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, device=device, dtype=dtype)
        self.proj_out = nn.Conv2d(hidden, dim, 1, device=device, dtype=dtype)

    @property
    def peak_channels(self) -> int:
        """Number of channels of the widest intermediate map."""
        return 2 * self.hidden_dim

    def forward(self, x: Tensor) -> Tensor:
        """Return the transformed features, (B, C, H, W)."""
        check_feature_map("x", x, self.dim)
        x1, x2 = self.depthwise(self.proj_in(x)).chunk(2, dim=1)
        return self.proj_out(F.gelu(x1) * x2)


class FFN(nn.Module):
    """Pointwise Transformer feed-forward network: ``Conv1×1 C→h, GELU, Conv1×1 h→C``.

    Source: the row DGFN → FFN of the paper's table 4.

    Args:
        dim: Number of channels C.
        hidden_dim: Number of hidden channels h; 2·``dim`` if None.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        (B, C, H, W) → (B, C, H, W).

    Raises:
        ValueError: If an argument is below 1 or the input has the wrong shape.
    """

    receptive_radius = (0, 0)

    def __init__(
        self,
        dim: int,
        hidden_dim: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.dim = check_int("dim", dim, minimum=1)
        hidden = 2 * dim if hidden_dim is None else check_int("hidden_dim", hidden_dim, minimum=1)
        self.hidden_dim = hidden
        self.proj_in = nn.Conv2d(dim, hidden, 1, device=device, dtype=dtype)
        self.proj_out = nn.Conv2d(hidden, dim, 1, device=device, dtype=dtype)

    @property
    def peak_channels(self) -> int:
        """Number of channels of the widest intermediate map."""
        return max(self.dim, self.hidden_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return the transformed features, (B, C, H, W)."""
        check_feature_map("x", x, self.dim)
        return self.proj_out(F.gelu(self.proj_in(x)))


# Training of variants with one recipe


_UNITS = {"s": 1 / 60, "m": 1.0, "min": 1.0, "h": 60.0}


@dataclass(frozen=True)
class Budget:
    """Training budget in steps or minutes.

    Attributes:
        steps: Optimizer steps, None for a time budget.
        minutes: Wall-clock time, None for a step budget.
    """

    steps: int | None = None
    minutes: float | None = None

    @classmethod
    def parse(cls, budget: Budget | str) -> Budget:
        """Parse a budget: ``"500"`` steps, ``"90s"``, ``"10m"`` or ``"2h"``.

        Raises:
            ValueError: If the text is not a budget.
        """
        if isinstance(budget, Budget):
            return budget
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(|s|m|min|h)", budget.strip())
        if not match or float(match[1]) == 0 or (not match[2] and "." in match[1]):
            raise ValueError(f"train must be a number of steps or a time such as 90s, 10m or 2h, got {budget!r}")
        return cls(minutes=float(match[1]) * _UNITS[match[2]]) if match[2] else cls(steps=int(match[1]))

    def __str__(self) -> str:
        """Return the budget with its unit."""
        return quantity(self.steps, "step") if self.minutes is None else f"{self.minutes:g} min"


def train_variants(
    variants: Mapping[str, dict[str, Any]],
    budget: Budget,
    data: Sequence[str],
    folder: Path,
    on_status: Callable[[str], None] | None = None,
    **overrides: Any,
) -> dict[str, TrainingResult]:
    """Train variants of ``lamnet_x2`` one after the other, with one recipe and one seed.

    Args:
        variants: Overridden model arguments by name of the variant.
        budget: Budget of each variant.
        data: Folders of images or names of datasets to train on.
        folder: Parent of the run folders. Existing runs are resumed, finished ones kept.
        on_status: Called with status lines.
        **overrides: Recipe fields to override; ``model_args`` apply to all variants.

    Returns:
        Training result by name of the variant.

    Raises:
        TrainingError: If a training fails or is stopped, or its folder contains a run with another recipe.
        LAMNetError: If the images cannot be read.
    """
    from ..training import Recipe, load_recipe, train  # imports accelerate, which the layers do not need

    shared = overrides.pop("model_args", {})
    results = {}
    for name, arguments in variants.items():
        run = folder / run_name(name)
        recipe = Recipe(
            model="lamnet_x2",
            model_args={**shared, **arguments},
            data=tuple(data),
            start="interpolation",
            steps=budget.steps,
            minutes=budget.minutes,
            batch=8,
            patch=32,
            lr=5e-4,
            warmup=20,
            schedule="cosine",
            clip=1.0,
            ema=0.98,
            valid="sample",
            valid_crop=192,
            valid_every=25,
            log_every=10,
        ).with_overrides(overrides)
        if (run / "recipe.yaml").is_file() and load_recipe(run / "recipe.yaml") != recipe:
            raise TrainingError(f"{run} contains a run with another recipe or budget: move it away")
        if on_status:
            on_status(f"{name}: training for {budget}")
        results[name] = result = train(recipe, run, resume=True)
        if result.stopped_by:
            raise TrainingError(
                f"{name} stopped at step {result.step}, state saved; run the same command again to resume"
            )
    return results


def run_name(variant: str) -> str:
    """Return the run name of a variant, such as ``fsa-mhdlsa`` for ``"FSA → MHDLSA"``."""
    return re.sub(r"[^a-z0-9]+", "-", variant.lower()).strip("-")
