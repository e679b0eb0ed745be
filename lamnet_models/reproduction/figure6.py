"""Figure 6: PSNR over latency."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from ..benchmarking import PEERS, bench, draw_chart
from ..benchmarking.peers import has_spandrel
from ..datasets import KNOWN_DATASETS, open_dataset
from ..errors import DatasetError
from ..evaluation import evaluate
from ..evaluation.published import BENCHMARKS, table3
from ..names import default_model_for_scale
from .result import Reproduction, Table


def figure6(
    *,
    scale: int = 4,
    dataset: str = "set5",
    data: str | os.PathLike | None = None,
    size: tuple[int, int] | None = None,
    rounds: int = 3,
    limit: int | None = None,
    on_status: Callable[[str], None] | None = None,
) -> Reproduction:
    """Reproduce figure 6: PSNR over latency; the area of a bubble is the number of parameters.

    Args:
        scale: Scale factor, 2, 3 or 4.
        dataset: A dataset of the paper's table 3; if it is not available, all PSNR are the paper's.
        data: Dataset root.
        size: Width and height of the LR image; 1280×720 divided by ``scale`` if None.
        rounds: Number of interleaved measurements of each network.
        limit: Number of images to evaluate, from the first; None for all.
        on_status: Called with status lines.

    Returns:
        Measured times; PSNR of LAMNet models, measured if the dataset is available, and the paper's; PSNR of peer
        networks, the paper's only.

    Raises:
        ValueError: If an argument is out of range.
        LAMNetError: If a network cannot be measured.
    """
    rows = {row.key: row for row in table3() if row.scale == scale and (row.name or row.key in PEERS)}
    if not rows or dataset not in BENCHMARKS:
        raise ValueError(
            f"dataset and scale must be in the paper's table 3, got {dataset} at ×{scale}: use scale 2, 3 or 4 and one "
            f"of {', '.join(BENCHMARKS)}"
        )
    names = [name for name in rows if name not in PEERS or has_spandrel()]
    printed = {name: rows[name].scores[dataset][0] for name in names}
    measured = _measure([name for name in names if name not in PEERS], dataset, scale, data, limit, on_status)
    times = bench(names, scale=scale, size=size, rounds=rounds, on_status=on_status)
    ours = times[names.index(default_model_for_scale(scale))]
    quality = printed | measured
    lines = tuple(
        (
            result.name,
            f"{1000 * result.median:.0f}",
            f"{result.ratio(ours):.2f}",
            f"{measured[result.name]:.2f}" if result.name in measured else None,
            f"{printed[result.name]:.2f}",
        )
        for result in times
    )
    title = KNOWN_DATASETS[dataset].title
    columns = ("network", "ms", "ratio to LAMNet's", f"PSNR on {title}", "paper's")
    return Reproduction(
        "figure6",
        f"Figure 6: PSNR on {title} over latency at ×{scale}",
        (
            Table(
                f"Median of {rounds} rounds in turn, eager, float32, on this machine" + _limit_note(limit),
                columns,
                lines,
            ),
        ),
        (
            "The figure shows the measured PSNR of the packaged weights if available, otherwise the paper's, whose "
            "weights were trained far longer: compare bubbles of the two kinds by time only.",
        ),
        lambda path: draw_chart(times, path, scale, quality),
    )


def _measure(
    names: Sequence[str],
    dataset: str,
    scale: int,
    data: str | os.PathLike | None,
    limit: int | None,
    on_status: Callable[[str], None] | None,
) -> dict[str, float]:
    try:
        opened = open_dataset(dataset, scale, data)
    except DatasetError:
        return {}
    measured = {}
    for name in names:
        if on_status:
            on_status(f"{name} on {dataset}")
        measured[name] = evaluate(name, opened, scale, limit=limit).psnr
    return measured


def _limit_note(limit: int | None) -> str:
    return f"; PSNR on the first {limit} images only" if limit else ""
