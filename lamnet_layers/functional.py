"""The one operation of the library: focal aggregation, checked here and sent to a backend."""

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
    heads: int = 4,
    dim: int = -1,
    backend: str | None = None,
) -> Tensor:
    """Returns at each pixel the weighted sum of the means of the window's cells around it, along one axis.

    ``out[b, j, p] = Σ_k weights[b, h(j)·K + k, p] · mean of x[b, j, q] over the pixels q of cell k around p``, where
    channel j belongs to head h(j) = j // (D / heads). Pixels outside the image count as 0 and still count in the mean.

    Half precision is accumulated in float32, everything else in its own type.

    Source: paper, section 3.2 (focal separable attention), one of its two passes.

    Args:
        x: Features, (B, D, H, W) of a floating-point type. Any strides.
        weights: Weights of each pixel's taps, (B, heads·K, H, W): tap k of head h is channel h·K + k, taps ordered from
            the most negative offset to the most positive.
        window: A window, a pair (strides, steps), or None for the default one.
        heads: Number of groups of channels that share weights; divides D.
        dim: Axis to aggregate along: −1 or 3 for the width (horizontal), −2 or 2 for the height (vertical).
        backend: ``"eager"``, ``"triton"``, or ``"fused"``, which is the same here; None for what
            [`use_backend`][lamnet_layers.use_backend] or the environment variable ``LAMNET_BACKEND`` ask for, or else
            kernels on CUDA devices where they can run.

    Returns:
        (B, D, H, W), of the wider of the two types.

    Raises:
        ValueError: If a shape, type, head count or axis does not fit.
        RuntimeError: If a backend was asked for that cannot run here.
    """
    window = FocalWindow.of(window)
    check_feature_map("x", x)
    check_feature_map("weights", weights)
    check_choice("dim", dim, (-1, -2, 2, 3))
    heads = check_int("heads", heads, minimum=1)
    check_divides("the number of channels of x", x.shape[1], "heads", heads)
    expected = (x.shape[0], heads * window.taps, *x.shape[2:])
    if weights.shape != expected:
        raise ValueError(
            f"weights has shape {tuple(weights.shape)}, but for x of shape {tuple(x.shape)}, {heads} heads and "
            f"{window.taps} taps it must be {tuple(expected)}"
        )
    if weights.device != x.device:
        raise ValueError(f"weights is on {weights.device}, but it must be on the device of x, {x.device}")
    if select(backend, x.device.type) != "eager":
        from .backends import ops

        return ops.focal_aggregate(x, weights, list(window.strides), list(window.steps), heads, dim % 4)
    return eager.focal_aggregate(x, weights, window, heads, dim % 4)
