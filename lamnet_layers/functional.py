"""Functional interface of the focal aggregation: argument checks and dispatch to a backend."""

from __future__ import annotations

from torch import Tensor

from ._checks import check_choice, check_divides, check_feature_map, check_int
from .backends import eager
from .backends.select import select
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
        backend: ``"eager"``, ``"triton"`` or ``"fused"`` (here equal to ``"triton"``). None for the backend of
            [`use_backend`][lamnet_layers.use_backend], else of the environment variable ``LAMNET_BACKEND``, else
            ``"triton"`` on CUDA devices that support it and ``"eager"`` elsewhere.

    Returns:
        (B, D, H, W), in the wider of the two dtypes.

    Raises:
        ValueError: If a shape, dtype, head count or axis is invalid.
        RuntimeError: If the requested backend cannot run.
    """
    window = FocalWindow.of(window)
    check_feature_map("x", x)
    check_feature_map("weights", weights)
    check_choice("dim", dim, (-1, -2, 2, 3))
    num_heads = check_int("num_heads", num_heads, minimum=1)
    check_divides("the number of channels of x", x.shape[1], "num_heads", num_heads)
    expected = (x.shape[0], num_heads * window.taps, *x.shape[2:])
    if weights.shape != expected:
        raise ValueError(
            f"weights must have shape {tuple(expected)} for x of shape {tuple(x.shape)}, {num_heads} heads and "
            f"{window.taps} taps, got {tuple(weights.shape)}"
        )
    if weights.device != x.device:
        raise ValueError(f"weights must be on the device of x, {x.device}, got {weights.device}")
    if select(backend, x.device.type) != "eager":
        from .backends import ops

        return ops.focal_aggregate(x, weights, list(window.strides), list(window.steps), num_heads, dim % 4)
    return eager.focal_aggregate(x, weights, window, num_heads, dim % 4)
