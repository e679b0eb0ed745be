"""Functional interface: argument checks, and the choice of the implementation."""

from __future__ import annotations

import torch
import torch.fx
from torch import Tensor, nn
from torch.amp import is_autocast_available

from .backend import select_backend
from .chunking import apply_chunked, has_hooks
from .fusion import FusedLayer, run_fused
from .ops import dual_gate as _dual_gate
from .ops import focal_aggregate as _focal_aggregate
from .ops import focal_pass as _focal_pass
from .validation import check_choice, check_divides, check_feature_map, check_int, is_traced
from .window import FocalWindow, WindowLike


def focal_aggregate(
    x: Tensor,
    weights: Tensor,
    window: WindowLike = None,
    *,
    num_heads: int = 4,
    dim: int = -1,
    backend: str | None = None,
) -> Tensor:
    """Return the weighted sum of the cell means around each pixel, along one axis.

    ``out[b, j, p] = Σ_k weights[b, h(j)·K + k, p] · mean of x[b, j, q] over the pixels q of cell k around p``, where
    channel j belongs to head h(j) = j // (D / num_heads). The input is zero-padded; padding counts in the mean.

    Half precision is accumulated in float32, other dtypes in their own precision.

    Source: paper, section 3.2, one pass of focal separable attention.

    Args:
        x: Features, (B, D, H, W), floating point, any strides.
        weights: Weights of each pixel's taps, (B, num_heads·K, H, W). Channel h·K + k is tap k of head h; taps are
            ordered from the most negative offset to the most positive.
        window: Focal window or pair (strides, steps); None for the default.
        num_heads: Number of heads; divides D. The channels of a head share weights.
        dim: Aggregation axis: −1 or 3 for the width (horizontal), −2 or 2 for the height (vertical).
        backend: ``"eager"``, ``"native"`` (here equal to ``"eager"``), ``"triton"`` or ``"fused"`` (here equal to
            ``"triton"``). None for the backend of [`use_backend`][lamnet_layers.use_backend], else of the environment
            variable ``LAMNET_BACKEND``, else ``"native"`` on CPUs and ``"triton"`` on CUDA devices if it can run, and
            ``"eager"`` otherwise.

    Returns:
        (B, D, H, W), in the wider of the two dtypes; under autocast, in autocast's dtype, as of a convolution.

    Raises:
        ValueError: If a shape, dtype, head count or axis is invalid.
        RuntimeError: If the requested backend cannot run.
    """
    check_feature_map("x", x)
    window, num_heads, dim = _check_pass(x, window, num_heads, dim)
    check_feature_map("weights", weights)
    expected = (x.shape[0], num_heads * window.taps, *x.shape[2:])
    if weights.shape != expected:
        raise ValueError(
            f"weights must have shape {tuple(expected)} for x of shape {tuple(x.shape)}, {num_heads} heads and "
            f"{window.taps} taps, got {tuple(weights.shape)}"
        )
    if weights.device != x.device:
        raise ValueError(f"weights must be on the device of x, {x.device}, got {weights.device}")
    return _aggregate(x, weights, window, num_heads, dim, backend)


def focal_pass(
    x: Tensor,
    depthwise: nn.Module,
    pointwise: nn.Module,
    window: WindowLike = None,
    *,
    num_heads: int = 4,
    dim: int = -1,
    backend: str | None = None,
) -> Tensor:
    """Return one pass of focal separable attention: weight prediction and aggregation along one axis.

    ``focal_aggregate(x, tanh(pointwise(depthwise(x))))``. The original implementation has the tanh, the paper does not.

    On a CPU and without gradients, large maps are processed in chunks.

    Source: paper, section 3.2.

    Args:
        x: Features, (B, D, H, W), floating point, any strides.
        depthwise: Depthwise convolution along the axis, (B, D, H, W) → (B, D, H, W).
        pointwise: 1×1 convolution that predicts the weights, (B, D, H, W) → (B, num_heads·K, H, W).
        window: Focal window or pair (strides, steps); None for the default.
        num_heads: Number of heads; divides D. The channels of a head share weights.
        dim: Aggregation axis: −1 or 3 for the width (horizontal), −2 or 2 for the height (vertical).
        backend: See [`focal_aggregate`][lamnet_layers.focal_aggregate]. ``"native"`` computes the whole pass in one
            kernel, forward and backward, if both modules are convolutions without hooks. ``"fused"`` computes
            projection, tanh and aggregation in one kernel when gradients are disabled and ``pointwise`` is a
            convolution without hooks.

    Returns:
        (B, D, H, W).

    Raises:
        ValueError: If a shape, dtype, head count or axis is invalid.
        RuntimeError: If the requested backend cannot run.
    """
    check_feature_map("x", x, getattr(depthwise, "in_channels", None))
    window, num_heads, dim = _check_pass(x, window, num_heads, dim)
    out = run_fused(
        x,
        lambda: fused_focal_pass(x.shape[1], depthwise, pointwise, window, num_heads, dim, backend),
        depthwise,
        pointwise,
    )
    if out is not None:
        return out
    fuse = not is_traced(x) and _can_fuse(select_backend(backend, x.device.type), pointwise)

    def compute(x: Tensor) -> Tensor:
        hidden = _focal_pass.convolve(x, depthwise, dim)
        if not fuse:
            weights = _focal_pass.predict(hidden, pointwise)
            return _aggregate(x, weights, window, num_heads, dim, backend)
        from .ops.triton.focal_pass import focal_pass as operator

        features, hidden = _autocast(x, hidden)
        matrix, rings = pointwise.weight.flatten(1), (list(window.strides), list(window.steps))
        return operator(features, hidden, matrix, pointwise.bias, *rings, num_heads, dim)

    radius = (0, window.radius) if dim == 3 else (window.radius, 0)
    return apply_chunked((depthwise, pointwise), compute, x, num_heads * window.taps, radius)


def fused_focal_pass(
    channels: int,
    depthwise: nn.Module,
    pointwise: nn.Module,
    window: FocalWindow,
    num_heads: int,
    dim: int,
    backend: str | None = None,
) -> FusedLayer:
    """Return the CPU kernel of a focal pass; see [`focal_pass`][lamnet_layers.functional.focal_pass]."""
    kernel = (1, window.size) if dim == 3 else (window.size, 1)
    convolutions = (
        (depthwise, channels, (channels, 1, *kernel)),
        (pointwise, channels, (num_heads * window.taps, channels, 1, 1)),
    )
    return FusedLayer("focal_pass", (channels, num_heads, dim), convolutions, window.strides, window.steps, backend)


def dual_gate(x: Tensor, depthwise: nn.Module, *, backend: str | None = None) -> Tensor:
    """Return ``concat(u·x1, u·x2)`` with ``x1, x2 = depthwise(x)`` and ``u = GELU(x1)``.

    Source: paper, section 3.4.

    Args:
        x: Features, (B, 2h, H, W), floating point.
        depthwise: Depthwise 3×3 convolution, (B, 2h, H, W) → (B, 2h, H, W).
        backend: See [`focal_aggregate`][lamnet_layers.focal_aggregate]. ``"fused"`` computes convolution and gates in
            one kernel when gradients are disabled and ``depthwise`` is a convolution without hooks; all others use
            plain PyTorch.

    Returns:
        (B, 2h, H, W).

    Raises:
        ValueError: If ``x`` is not a feature map with an even number of channels.
        RuntimeError: If the requested backend cannot run.
    """
    check_feature_map("x", x, getattr(depthwise, "in_channels", None))
    if is_traced(x):
        return _dual_gate.eager(x, depthwise)
    check_divides("the number of channels of x", x.shape[1], "the number of halves", 2)
    if not _can_fuse(select_backend(backend, x.device.type), depthwise):
        return _dual_gate.eager(x, depthwise)
    from .ops.triton.dual_gate import dual_gate as operator

    return operator(x, depthwise.weight, depthwise.bias)


def _check_pass(x: Tensor, window: WindowLike, num_heads: int, dim: int) -> tuple[FocalWindow, int, int]:
    check_choice("dim", dim, (-1, -2, 2, 3))
    num_heads = check_int("num_heads", num_heads, minimum=1)
    if not is_traced(x):
        check_divides("the number of channels of x", x.shape[1], "num_heads", num_heads)
    return FocalWindow.of(window), num_heads, dim % 4


@torch.fx.wrap  # one node in FX graphs
def _aggregate(
    x: Tensor, weights: Tensor, window: FocalWindow, num_heads: int, dim: int, backend: str | None
) -> Tensor:
    x, weights = _autocast(x, weights)
    if select_backend(backend, x.device.type) in ("eager", "native"):
        return _focal_aggregate.eager(x, weights, window, num_heads, dim)
    from .ops.triton.focal_aggregate import focal_aggregate as operator

    return operator(x, weights, list(window.strides), list(window.steps), num_heads, dim)


def _autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors in autocast's dtype, as autocast does for convolutions; float64 stays."""
    device_type = tensors[0].device.type
    if not (is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)):
        return tensors
    dtype = torch.get_autocast_dtype(device_type)
    return tuple(tensor if tensor.dtype == torch.float64 else tensor.to(dtype) for tensor in tensors)


def _can_fuse(backend: str, convolution: nn.Module) -> bool:
    # The kernels read the parameters. Hooks, and layers that replace a convolution, must see its input.
    if backend != "fused" or torch.is_grad_enabled():
        return False
    return type(convolution) is nn.Conv2d and not has_hooks(convolution)
