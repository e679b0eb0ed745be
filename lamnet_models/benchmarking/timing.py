"""Times of functions, measured in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager

import torch


@contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Computes on so many threads of the CPU within a block of code; on as many as before if None."""
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
    """Calls each function once a round, so that what else the machine does falls on all of them alike.

    Args:
        functions: The functions by name; they have run before.
        rounds: How often each is called.
        device: Where they compute; on CUDA the device's own clock is read.
        after: Called after every measurement.

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
