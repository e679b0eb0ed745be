"""Peak memory: of a forward pass, of whatever a process does."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ..upscaling.memory import used_memory


def peak_memory(function: Callable[[], object], device: torch.device) -> int | None:
    """Returns how many bytes a call adds to what is allocated on a CUDA device; None elsewhere."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    function()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def peak_memory_in_child(name: str, scale: int, size: tuple[int, int], threads: int) -> int:
    """Returns how many bytes of memory a network's forward pass on the CPU adds to a process of its own.

    Args:
        name: See [`open_network`][lamnet_models.benchmarking.open_network].
        scale: Factor of enlargement, for peers.
        size: Width and height of the image in pixels.
        threads: Number of threads.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measure, (name, scale, size, threads))


def _measure(name: str, scale: int, size: tuple[int, int], threads: int) -> int:
    from .networks import open_network

    torch.set_num_threads(threads)
    network = open_network(name, scale)
    width, height = size
    with torch.inference_mode():
        network(torch.rand(1, 3, 16, 16))  # what torch loads at first
        # Watched, as the peak that the system keeps is not the process's own: it inherits its parent's.
        with track_peak_memory() as peak:
            before = used_memory()
            network(torch.rand(1, 3, height, width))
            return max(0, peak() - before)


@contextmanager
def track_peak_memory(period: float = 0.002) -> Iterator[Callable[[], int]]:
    """Yields a function that returns the most memory, in bytes, that the process has had for itself since.

    What ``used_memory`` counts has no peak that the system keeps, so a thread looks at it all the time.

    Args:
        period: Seconds between two looks.
    """
    peak, done = used_memory(), threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(period):
            peak = max(peak, used_memory())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: max(peak, used_memory())
    finally:
        done.set()
        thread.join()
