"""Benchmarks of layers: bandwidth of the aggregation, and token mixers over the window size."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamnet_layers import FocalSeparableAttention, FocalWindow, focal_aggregate
from lamnet_layers.validation import check_int

from ..cost import count_operations
from ..devices import resolve_device
from ..filesystem import atomic_path
from .measure import limited_threads, time_interleaved

# Bandwidth of the aggregation

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


# Token mixers over the window size

CHANNELS, HEADS = 64, 4

WINDOW_SIDES = (7, 15, 23, 31, 39, 47)
"""Default window sides in pixels."""


def focal_window(side: int) -> FocalWindow:
    """Return a focal window of odd side, with cells like the published window of side 23."""
    radius = check_int("side", side, minimum=1) // 2
    if side % 2 == 0:
        raise ValueError(f"side must be odd, got {side}")
    ones = min(3, radius)
    twos = min(2, (radius - ones) // 2)
    fours, rest = divmod(radius - ones - 2 * twos, 4)
    rings = [(stride, steps) for stride, steps in ((1, ones + rest), (2, twos), (4, fours)) if steps]
    return FocalWindow([stride for stride, _ in rings], [steps for _, steps in rings])


class WindowAttention(nn.Module):
    """Window self-attention as in Swin transformers, without shift and position bias.

    Args:
        channels: Number of channels C.
        side: Side of the windows in pixels; the image is zero-padded to a multiple of it.
        heads: Number of heads, a divisor of ``channels``.

    Shape:
        (B, C, H, W) → (B, C, H, W).
    """

    def __init__(self, channels: int, side: int, heads: int) -> None:
        super().__init__()
        self.side, self.heads = side, heads
        self.project_in, self.project_out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended features."""
        _, channels, height, width = x.shape
        side = self.side
        x = F.pad(x, (0, -width % side, 0, -height % side))
        windows = x.unflatten(3, (-1, side)).unflatten(2, (-1, side)).permute(0, 2, 4, 3, 5, 1)  # B, rows, columns, …
        tokens = self.project_in(windows.flatten(3, 4)).unflatten(-1, (3, self.heads, -1))
        query, key, value = tokens.permute(4, 0, 1, 2, 5, 3, 6).flatten(1, 3)
        out = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        out = self.project_out(out).view(windows.shape).permute(0, 5, 1, 3, 2, 4)
        return out.reshape(-1, channels, *x.shape[2:])[..., :height, :width]


MIXERS: dict[str, Callable[[int], nn.Module]] = {
    "focal": lambda side: FocalSeparableAttention(CHANNELS, HEADS, focal_window(side)),
    "separable": lambda side: FocalSeparableAttention(CHANNELS, HEADS, ((1,), (side // 2,))),
    "window": lambda side: WindowAttention(CHANNELS, side, HEADS),
}
"""Token mixers on 64 channels by name, as functions of the window side: focal separable attention, the same with one
tap per pixel, and window self-attention."""


@dataclass(frozen=True)
class WindowMeasurement:
    """Measurement of a token mixer with one window size.

    Attributes:
        mixer: Name of the token mixer.
        side: Side of the window in pixels.
        seconds: Time of each round.
        operations: Multiply-accumulates, plus one per element of other arithmetic, as in
            [`Complexity`][lamnet_models.cost.Complexity].
    """

    mixer: str
    side: int
    seconds: tuple[float, ...]
    operations: int

    @property
    def median(self) -> float:
        """Median time in seconds."""
        return statistics.median(self.seconds)


def measure_windows(
    sides: Iterable[int] = WINDOW_SIDES,
    *,
    mixers: Mapping[str, Callable[[int], nn.Module]] = MIXERS,
    channels: int = CHANNELS,
    size: tuple[int, int] = (320, 180),
    rounds: int = 5,
    threads: int | None = None,
    device: torch.device | str = "auto",
    on_status: Callable[[str], None] | None = None,
) -> list[WindowMeasurement]:
    """Benchmark token mixers with several window sizes in interleaved rounds, in eager float32.

    Args:
        sides: Window sides in pixels, odd.
        mixers: Functions from a side to a module (B, channels, H, W) → (B, channels, H, W), by name.
        channels: Number of channels of the features.
        size: Width and height of the features.
        rounds: Number of measurements of each mixer.
        threads: Number of CPU threads; PyTorch's default if None.
        device: Device to compute on.
        on_status: Called with a line of text before each phase.

    Returns:
        A measurement for each mixer and side, in that order.

    Raises:
        ValueError: If a side is even or below 1, or ``rounds`` is below 1.
    """
    check_int("rounds", rounds, minimum=1)
    device = resolve_device(device)
    shape = (1, channels, size[1], size[0])
    on_status = on_status or (lambda _: None)
    with limited_threads(threads):
        features = torch.randn(shape, device=device)
        cases, operations = {}, {}
        for name, build in mixers.items():
            for side in sides:
                on_status(f"{name}, window {side}: first call")
                module = build(side).to(device).eval()
                operations[name, side] = count_operations(module, shape)[1]
                cases[name, side] = _call(module, features)
                cases[name, side]()
        on_status(f"{rounds} rounds")
        times = time_interleaved(cases, rounds, device)
    return [WindowMeasurement(*key, tuple(times[key]), operations[key]) for key in cases]


def _call(module: nn.Module, features: Tensor) -> Callable[[], Tensor]:
    @torch.inference_mode()
    def call() -> Tensor:
        return module(features)

    return call


def draw_windows(results: Iterable[WindowMeasurement], path: str | os.PathLike) -> None:
    """Write two charts: median time and operations over the window side, one line per mixer.

    Args:
        results: The measurements.
        path: File to write, ``.png``, ``.svg`` or ``.pdf``.
    """
    from matplotlib.figure import Figure  # pyplot would look for a display

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    time, work = figure.subplots(1, 2)
    lines: dict[str, list[WindowMeasurement]] = {}
    for result in results:
        lines.setdefault(result.mixer, []).append(result)
    for name, line in lines.items():
        sides = [result.side for result in line]
        time.plot(sides, [1000 * result.median for result in line], marker="o", label=name)
        work.plot(sides, [result.operations / 1e9 for result in line], marker="o", label=name)
    for axes, label in ((time, "median time (ms)"), (work, "operations (10⁹)")):
        axes.set(xlabel="window side (pixels)", ylabel=label, yscale="log")
        axes.grid(alpha=0.3)
        axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
