"""Figure 8: what a larger window costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..benchmarking import WINDOW_SIDES, draw_windows, measure_windows
from .result import Reproduction, Table


def figure8(
    *,
    sides: Sequence[int] = WINDOW_SIDES,
    size: tuple[int, int] = (320, 180),
    rounds: int = 3,
    on_status: Callable[[str], None] | None = None,
) -> Reproduction:
    """Reproduces figure 8: time and operations of token mixers over the side of their window.

    Args:
        sides: Sides of the windows in pixels, odd.
        size: Width and height of the features.
        rounds: How often each is measured, in turn with the others.
        on_status: Called with what is being done.

    Raises:
        ValueError: If an argument is out of its range.
    """
    results = measure_windows(sides, size=size, rounds=rounds, on_status=on_status)
    rows = tuple(
        (result.mixer, result.side, f"{1000 * result.median:.1f}", f"{result.operations / 1e9:.2f}G")
        for result in results
    )
    return Reproduction(
        "figure8",
        "Figure 8: time and operations over the window's side",
        (Table(f"Features of {size[0]}×{size[1]}, 64 channels", ("mixer", "side", "ms", "operations"), rows),),
        (
            "focal: focal separable attention; separable: the same with a tap for every pixel; window: self-attention "
            "within windows. Operations are multiply-accumulates, and one for each element that other arithmetic works "
            "on. Times are this machine's, on a CPU or GPU other than the paper's: their order and growth are what can "
            "be compared.",
        ),
        lambda path: draw_windows(results, path),
    )
