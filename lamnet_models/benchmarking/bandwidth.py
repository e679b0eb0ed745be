"""Bandwidth of the focal aggregation relative to a memory copy."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import torch

from lamnet_layers import FocalWindow, focal_aggregate

from ..devices import resolve_device
from .timing import time_interleaved

AGGREGATION_SIZES = ((16, 32, 180, 320), (4, 32, 360, 640), (128, 32, 64, 64), (1, 32, 180, 320))
"""Benchmarked shapes (B, D, H, W): three larger than a large GPU's cache, one smaller."""


@dataclass(frozen=True)
class OperatorMeasurement:
    """Measurement of the aggregation at one shape, along one axis.

    Attributes:
        shape: (B, D, H, W).
        axis: ``"horizontal"`` or ``"vertical"``.
        backward: Whether the backward pass was measured.
        seconds: Median time.
        bytes: Bytes of all inputs and results, each counted once.
        share: Bandwidth as a share of that of a memory copy, measured in the same rounds.
        backend: Requested backend, None for automatic selection.
    """

    shape: tuple[int, int, int, int]
    axis: str
    backward: bool
    seconds: float
    bytes: int
    share: float
    backend: str | None = None

    @property
    def bandwidth(self) -> float:
        """Bytes per second."""
        return self.bytes / self.seconds


def copy_bandwidth(size: int, rounds: int, device: torch.device | str = "auto") -> float:
    """Return the bandwidth in bytes per second, read plus written, of a copy of ``size`` bytes."""
    device = resolve_device(device)
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    times = time_interleaved({"copy": lambda: target.copy_(source)}, rounds + 1, device)["copy"]
    return 2 * size / statistics.median(times[1:])


def measure_aggregation(
    shape: tuple[int, int, int, int],
    axis: str,
    *,
    heads: int = 4,
    dtype: torch.dtype = torch.float32,
    backward: bool = False,
    rounds: int = 20,
    device: torch.device | str = "auto",
    backend: str | None = None,
) -> OperatorMeasurement:
    """Measure the aggregation with the default window, and a copy of the same number of bytes.

    Args:
        shape: (B, D, H, W).
        axis: ``"horizontal"`` or ``"vertical"``.
        heads: Number of groups of channels that share weights.
        dtype: Dtype of features and weights.
        backward: Whether to measure the backward pass instead of the forward pass.
        rounds: Number of measurements.
        device: Device to compute on.
        backend: See [`focal_aggregate`][lamnet_layers.focal_aggregate].
    """
    device = resolve_device(device)
    batch, _, height, width = shape
    taps = heads * FocalWindow().taps
    x = torch.randn(shape, device=device, dtype=dtype, requires_grad=backward)
    weights = torch.randn(batch, taps, height, width, device=device, dtype=dtype).tanh().requires_grad_(backward)
    dim = -1 if axis == "horizontal" else -2
    inputs = x.nbytes + weights.nbytes
    if backward:
        out = focal_aggregate(x, weights, num_heads=heads, dim=dim, backend=backend)
        gradient = torch.randn_like(out)
        bytes_moved = 2 * inputs + out.nbytes

        def run() -> object:
            return torch.autograd.grad(out, (x, weights), gradient, retain_graph=True)
    else:
        bytes_moved = inputs + x.nbytes

        def run() -> object:
            return focal_aggregate(x, weights, num_heads=heads, dim=dim, backend=backend)

    source = torch.empty(bytes_moved // 2, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    run()
    times = time_interleaved({"copy": lambda: target.copy_(source), "run": run}, rounds, device)
    share = statistics.median(copy / aggregation for copy, aggregation in zip(times["copy"], times["run"], strict=True))
    return OperatorMeasurement(shape, axis, backward, statistics.median(times["run"]), bytes_moved, share, backend)
