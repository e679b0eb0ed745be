"""Interleaved timing of functions."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager

import torch


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
