"""Benchmark of networks: latency, throughput, memory, ratios to a baseline, charts."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn

from lamnet_layers import set_backend

from ..cost import count_flops
from ..devices import compile_network, resolve_device
from ..errors import LAMNetError
from ..exporting import to_onnxruntime
from ..filesystem import atomic_path
from ..inference.planner import used_memory
from ..lamnet import LAMNet
from ..names import display_name
from ..training.optimizer import create_optimizer
from ..training.recipe import Recipe
from .peers import open_network

MODES = ("eager", "compiled", "onnxruntime")
"""Execution modes: eager, ``torch.compile``, or exported to ONNX Runtime on the CPU."""

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""Dtypes of weights and activations, by name."""

OUTPUT_SIZE = (1280, 720)
"""Width and height of the SR image for which papers report costs."""

_TOLERANCES = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 1e-1}  # relative to the largest value of the eager float32 result


@dataclass(frozen=True)
class Measurement:
    """Measurement of one network in one mode and precision.

    Attributes:
        name: Name of the network.
        mode: One of [`MODES`][lamnet_models.benchmarking.MODES].
        precision: ``"fp32"``, ``"fp16"`` or ``"bf16"``.
        task: ``"forward"``, or ``"train"`` for a training step: forward, L1, backward, Adam.
        seconds: Time of each round.
        images: Number of images per round.
        memory: Peak additional bytes of a call, None if not measured.
        difference: Maximum difference from the eager float32 result, relative to its largest value; None for training.
        valid: Whether the difference is within tolerance. If not, the time must be ignored.
        backend: Requested backend, None for automatic selection.
        flops: FLOPs of a round, None in ONNX Runtime. Those of a forward pass are counted once per network on the
            automatically selected backend; a training step has three times as many.
        matrix_share: FLOPs per second as a share of those of ``torch.mm`` in the same precision, measured in the same
            rounds; None in ONNX Runtime.
    """

    name: str
    mode: str
    precision: str
    task: str
    seconds: tuple[float, ...]
    images: int
    memory: int | None = None
    difference: float | None = None
    valid: bool = True
    backend: str | None = None
    flops: int | None = None
    matrix_share: float | None = None

    @property
    def label(self) -> str:
        """Name, mode, precision, task and backend, joined by slashes."""
        return "/".join(filter(None, (self.name, self.mode, self.precision, self.task, self.backend)))

    @property
    def median(self) -> float:
        """Median time in seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the interquartile range, relative to the median."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / 2 / self.median

    def ratio(self, baseline: Measurement) -> float:
        """Return the time relative to a baseline's: the median of the ratios per round."""
        pairs = zip(self.seconds, baseline.seconds, strict=True)
        return statistics.median(seconds / reference for seconds, reference in pairs)


def bench(
    models: Sequence[str],
    *,
    scale: int = 4,
    size: tuple[int, int] | None = None,
    modes: Iterable[str] = ("eager",),
    precisions: Iterable[str] = ("fp32",),
    backends: Iterable[str | None] = (None,),
    train: tuple[int, int] | None = None,
    rounds: int = 7,
    threads: int | None = None,
    device: torch.device | str = "auto",
    memory: bool = False,
    on_status: Callable[[str], None] | None = None,
) -> list[Measurement]:
    """Benchmark networks in interleaved rounds, in one process.

    Args:
        models: Model names, peer networks and checkpoint files.
        scale: Scale factor of peer networks, and of the default ``size``.
        size: Width and height in pixels of the LR image; 1280×720 divided by ``scale`` if None.
        modes: Subset of [`MODES`][lamnet_models.benchmarking.MODES].
        precisions: Subset of [`PRECISIONS`][lamnet_models.benchmarking.PRECISIONS].
        backends: Backends of LAMNet layers, see [`focal_aggregate`][lamnet_layers.focal_aggregate]; None for automatic
            selection.
        train: Batch size and side of the square patches in pixels; measures training steps instead of forward passes.
        rounds: Number of measurements of each network.
        threads: Number of CPU threads; PyTorch's default if None.
        device: Device to compute on.
        memory: Whether to measure peak memory; on the CPU in a process per network and backend, in eager float32.
        on_status: Called with a line of text before each phase.

    Returns:
        A measurement for each network, mode, precision and backend, in that order. Networks without LAMNet layers and
        ONNX Runtime have no backends: they are measured once.

    Raises:
        ValueError: If an argument is out of range, or ONNX Runtime does not support the combination.
        RuntimeError: If a backend is not available on the device.
        LAMNetError: If a network, compiler or ONNX Runtime is missing.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds!r}")
    modes, precisions, backends = tuple(modes), tuple(precisions), tuple(backends)
    device = resolve_device(device)
    if "onnxruntime" in modes and (device.type != "cpu" or train is not None or "bf16" in precisions):
        raise ValueError("mode 'onnxruntime' must be used for forward passes on the CPU, in fp32 or fp16")
    width, height = size or (OUTPUT_SIZE[0] // scale, OUTPUT_SIZE[1] // scale)
    on_status = on_status or (lambda _: None)
    # Every mode, precision and layer size is a recompilation; above the limit, Dynamo falls back to eager.
    with limited_threads(threads), torch._dynamo.config.patch(recompile_limit=64):
        cases = []
        shape = (1, 3, height, width) if train is None else (train[0], 3, train[1], train[1])
        image = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)
        networks = {name: open_network(name, scale) for name in models}
        for name, network in networks.items():
            network.to(device)
            reference, flops = count_flops(network, image)
            has_backends = any(hasattr(layer, "backend") for layer in network.modules())
            for mode, precision in product(modes, precisions):
                on_status(f"{name}, {mode}, {precision}: first call")
                for backend in backends if has_backends and mode != "onnxruntime" else (None,):
                    case = _Case(name, network, mode, precision, backend, train is not None, image, reference, flops)
                    cases.append(case)
        on_status(f"{rounds} rounds")
        products = {precision: _matrix_product(precision, device) for precision in precisions}
        runs = {precision: run for precision, (run, _) in products.items()}
        times = time_interleaved(runs | dict(enumerate(case.run for case in cases)), rounds, device)
        results = []
        for number, case in enumerate(cases):
            bytes_used = None
            if memory and device.type == "cuda":
                bytes_used = peak_memory(case.run, device)
            elif memory and (case.mode, case.precision) == ("eager", "fp32"):
                on_status(f"{case.name}: memory")
                bytes_used = peak_memory_in_child(case.name, scale, shape, train is not None, case.backend)
            rate = (times[case.precision], products[case.precision][1])
            results.append(case.measurement(tuple(times[number]), bytes_used, *rate))
        return results


class _Case:
    """A network prepared for one mode and precision, warmed up and compared with the reference."""

    def __init__(
        self,
        name: str,
        network: nn.Module,
        mode: str,
        precision: str,
        backend: str | None,
        is_training: bool,
        image: Tensor,
        reference: Tensor,
        flops: int,
    ) -> None:
        self.name, self.mode, self.precision, self.backend = name, mode, precision, backend
        self.task, self.images = "train" if is_training else "forward", len(image)
        # The gradients of inputs and weights cost a forward pass each. They are not counted: PyTorch's formula takes
        # the gradient of a grouped convolution's weights for that of a dense one.
        self.flops = None if mode == "onnxruntime" else 3 * flops if is_training else flops
        if mode == "onnxruntime":
            network = to_onnxruntime(network, half=precision == "fp16")
        else:
            network = deepcopy(network).to(torch.float32 if is_training else PRECISIONS[precision])
            if backend is not None:  # by the layers' argument, which compiled code depends on, too
                set_backend(network, backend)
            network.train(is_training)
        if mode == "compiled":
            compile_network(network)
        if is_training:
            self.run = _training_step(network, image, precision)
        else:
            # Peer networks create float32 masks: autocast is needed to mix these with half-precision weights.
            mixed = precision != "fp32" and not isinstance(network, LAMNet)
            self.run = _forward(network, image.to(PRECISIONS[precision]), mixed)
        result = self.run()
        self.difference = None if is_training else self._compare(result, reference)

    def _compare(self, result: Tensor, reference: Tensor) -> float:
        return ((result.float() - reference).abs().max() / reference.abs().max()).item()

    def measurement(
        self, seconds: tuple[float, ...], memory: int | None, product_seconds: Sequence[float], product_flops: int
    ) -> Measurement:
        """Return the result, relative to a matrix product measured in the same rounds."""
        share = None
        if self.flops is not None:
            ratios = (reference / own for reference, own in zip(product_seconds, seconds, strict=True))
            share = self.flops / product_flops * statistics.median(ratios)
        return Measurement(
            self.name,
            self.mode,
            self.precision,
            self.task,
            seconds,
            self.images,
            memory,
            self.difference,
            self.difference is None or self.difference <= _TOLERANCES[self.precision],
            self.backend,
            self.flops,
            share,
        )


def _forward(network: nn.Module, image: Tensor, mixed: bool = False) -> Callable[[], Tensor]:
    @torch.inference_mode()
    def forward() -> Tensor:
        with torch.autocast(image.device.type, image.dtype) if mixed else nullcontext():
            return network(image)

    return forward


def _training_step(network: nn.Module, image: Tensor, precision: str = "fp32") -> Callable[[], None]:
    with torch.no_grad():
        target = torch.rand_like(network(image))
    optimizer = create_optimizer(network, Recipe(lr=1e-4, steps=1))

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(image.device.type, PRECISIONS[precision], enabled=precision != "fp32"):
            loss = nn.functional.l1_loss(network(image), target)
        loss.backward()
        optimizer.step()

    return step


def _matrix_product(precision: str, device: torch.device) -> tuple[Callable[[], Tensor], int]:
    """Return a product of two square matrices, large enough for its time to be that of arithmetic, and its FLOPs."""
    side = 512
    while True:
        matrices = torch.rand(2, side, side, device=device).to(PRECISIONS[precision])
        run = partial(torch.mm, *matrices)
        run()
        if side >= 8192 or time_interleaved({"product": run}, 1, device)["product"][0] > 0.02:
            return run, 2 * side**3
        side *= 2


def draw_chart(
    results: Sequence[Measurement],
    path: str | os.PathLike,
    scale: int = 4,
    psnr: Mapping[str, float] | None = None,
) -> None:
    """Write a bubble chart of measurements; the area of a bubble is the number of parameters.

    Args:
        results: The measurements; the horizontal axis is time.
        path: File to write, ``.png``, ``.svg`` or ``.pdf``.
        scale: Scale factor of peer networks.
        psnr: PSNR in dB for the vertical axis, from [`read_psnr`][lamnet_models.benchmarking.read_psnr]; networks
            without one are skipped. If None, the vertical axis is throughput in images per second.
    """
    from matplotlib.figure import Figure  # pyplot would look for a display

    plotted = [result for result in results if result.valid and (psnr is None or display_name(result.name) in psnr)]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    kinds = {(result.mode, result.precision) for result in plotted}
    for index, result in enumerate(sorted(plotted, key=lambda result: result.median)):
        parameters = sum(parameter.numel() for parameter in open_network(result.name, scale).parameters())
        name = display_name(result.name)
        x, y = 1000 * result.median, psnr[name] if psnr else result.images / result.median
        area = parameters / 1500
        axes.scatter(x, y, s=area, alpha=0.6)
        details = [result.mode, result.precision] if len(kinds) > 1 else []
        label = "\n".join((name, ", ".join((*details, f"{parameters / 1000:,.0f}K"))))
        side, alignment = (1, "bottom") if index % 2 else (-1, "top")  # above or below: neighbors often overlap
        offset = (0, side * ((area / math.pi) ** 0.5 + 3))
        axes.annotate(label, (x, y), offset, textcoords="offset points", fontsize=7, ha="center", va=alignment)
    axes.set_xscale("log")
    axes.margins(0.2)
    axes.set_xlabel("median latency (ms); area: parameters")
    if psnr:
        axes.set_ylabel("PSNR (dB)")
    else:
        axes.set_yscale("log")
        axes.set_ylabel("images per second")
    axes.grid(alpha=0.3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def read_psnr(paths: Iterable[str | os.PathLike]) -> dict[str, float]:
    """Read PSNR in dB by ``display_name`` of networks from JSON output of ``lamnet eval`` or ``lamnet compare``.

    Args:
        paths: The files; JSON objects that map names to numbers are accepted, too.

    Raises:
        LAMNetError: If a file cannot be read, has another format, or the values of a network conflict.
    """
    psnr: dict[str, float] = {}
    for path in paths:
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if isinstance(content, dict) and "evaluations" not in content:
                pairs = list(content.items())
            else:
                rows = content["evaluations"] if isinstance(content, dict) else content
                pairs = [(row["model"], row["psnr"]) for row in rows]
            values = [(display_name(str(name)), float(value)) for name, value in pairs]
        except OSError as error:
            raise LAMNetError(f"{path}: cannot read ({error.strerror})") from None
        except (ValueError, KeyError, TypeError):
            raise LAMNetError(f"{path}: not the output of lamnet eval --json or lamnet compare --json") from None
        for name, value in values:
            if psnr.setdefault(name, value) != value:
                raise LAMNetError(f"{path}: conflicting PSNR of {name}; pass results of one dataset")
    return psnr


# Interleaved timing of functions, and peak memory of calls and processes


@contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Set the number of CPU threads within the block; None leaves it unchanged."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def time_interleaved(
    functions: Mapping[Hashable, Callable[[], object]],
    rounds: int,
    device: torch.device,
    after: Callable[[], None] | None = None,
) -> dict[Hashable, list[float]]:
    """Call each function once per round, so that other load affects all of them equally.

    Args:
        functions: Functions by name, already warmed up.
        rounds: Number of calls of each function.
        device: Device they run on; CUDA devices are timed with events.
        after: Called after each measurement.

    Returns:
        Seconds of each call, by name.
    """
    times: dict[Hashable, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(_time_on_cuda(function) if device.type == "cuda" else _time(function))
            if after is not None:
                after()
    return times


def _time(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _time_on_cuda(function: Callable[[], object]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    function()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000


def peak_memory(function: Callable[[], object], device: torch.device) -> int | None:
    """Return the peak bytes allocated by a call on a CUDA device; None on other devices."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    function()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def peak_memory_in_child(
    name: str, scale: int, shape: tuple[int, int, int, int], is_training: bool, backend: str | None
) -> int:
    """Return the peak additional bytes on the CPU of a forward pass or a training step, measured in its own process.

    Those of a training step contain gradients and the optimizer's state.

    Args:
        name: See [`open_network`][lamnet_models.benchmarking.open_network].
        scale: Scale factor of peer networks.
        shape: Shape of the input.
        is_training: Whether to run a training step.
        backend: Backend of LAMNet layers, None for automatic selection.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measure_memory, (name, scale, shape, is_training, backend, torch.get_num_threads()))


def _measure_memory(
    name: str, scale: int, shape: tuple[int, int, int, int], is_training: bool, backend: str | None, threads: int
) -> int:
    torch.set_num_threads(threads)
    network = open_network(name, scale).train(is_training)
    if backend is not None:
        set_backend(network, backend)

    def run(*shape: int) -> None:
        image = torch.rand(shape)
        (_training_step(network, image) if is_training else _forward(network, image))()

    run(2, 3, 16, 16)  # warm-up
    network.zero_grad()
    # Sampled, because a process inherits the peak counter of its parent.
    with track_peak_memory() as peak:
        before = used_memory()
        run(*shape)
        return max(0, peak() - before)


@contextmanager
def track_peak_memory(period: float = 0.002) -> Iterator[Callable[[], int]]:
    """Yield a function that returns the peak private memory of the process in bytes since entry.

    The system has no peak counter for ``used_memory``, so a thread samples it.

    Args:
        period: Sampling interval in seconds.
    """
    peak, done = used_memory(), threading.Event()

    def sample() -> None:
        nonlocal peak
        while not done.wait(period):
            peak = max(peak, used_memory())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield lambda: max(peak, used_memory())
    finally:
        done.set()
        thread.join()
