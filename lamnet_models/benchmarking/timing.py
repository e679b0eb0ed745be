"""Interleaved timing of functions, and peak memory of calls and processes."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager

import torch

from ..inference.planner import used_memory


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


def peak_memory_in_child(name: str, scale: int, size: tuple[int, int], threads: int) -> int:
    """Return the peak additional bytes of a CPU forward pass, measured in a separate process.

    Args:
        name: See [`open_network`][lamnet_models.benchmarking.open_network].
        scale: Scale factor of peer networks.
        size: Width and height of the image in pixels.
        threads: Number of threads.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measure_memory, (name, scale, size, threads))


def _measure_memory(name: str, scale: int, size: tuple[int, int], threads: int) -> int:
    from .peers import open_network

    torch.set_num_threads(threads)
    network = open_network(name, scale)
    width, height = size
    with torch.inference_mode():
        network(torch.rand(1, 3, 16, 16))  # warm-up
        # Sampled, because a process inherits the peak counter of its parent.
        with track_peak_memory() as peak:
            before = used_memory()
            network(torch.rand(1, 3, height, width))
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
