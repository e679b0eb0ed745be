"""Figure 8: cost of token mixers over the window size."""

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
    """Reproduce figure 8: time and operations of token mixers over the window side.

    Args:
        sides: Window sides in pixels, odd.
        size: Width and height of the features.
        rounds: Number of interleaved measurements of each mixer.
        on_status: Called with status lines.

    Raises:
        ValueError: If an argument is out of range.
    """
    results = measure_windows(sides, size=size, rounds=rounds, on_status=on_status)
    rows = tuple(
        (result.mixer, result.side, f"{1000 * result.median:.1f}", f"{result.operations / 1e9:.2f}G")
        for result in results
    )
    return Reproduction(
        "figure8",
        "Figure 8: time and operations over the window side",
        (Table(f"Features of {size[0]}×{size[1]}, 64 channels", ("mixer", "side", "ms", "operations"), rows),),
        (
            "focal: focal separable attention; separable: the same with one tap per pixel; window: window "
            "self-attention. Operations are multiply-accumulates, plus one per element of other arithmetic. Times were "
            "measured on other hardware than the paper's: compare only their order and growth.",
        ),
        lambda path: draw_windows(results, path),
    )
