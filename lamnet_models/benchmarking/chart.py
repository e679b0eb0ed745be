"""Bubble chart of latency and quality, as in the paper's figure 6."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import LAMNetError
from ..files import atomic_path
from .measure import Measurement
from .networks import open_network


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
        psnr: PSNR in dB by network for the vertical axis; networks without one are skipped. If None, the vertical axis
            is throughput in images per second.
    """
    from matplotlib.figure import Figure  # pyplot would look for a display

    plotted = [result for result in results if result.valid and (psnr is None or result.name in psnr)]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for result in plotted:
        parameters = sum(parameter.numel() for parameter in open_network(result.name, scale).parameters())
        x, y = 1000 * result.median, psnr[result.name] if psnr else result.images / result.median
        axes.scatter(x, y, s=parameters / 1500, alpha=0.6)
        label = f"{Path(result.name).name}\n{result.mode}, {result.precision}, {parameters / 1000:,.0f}K"
        axes.annotate(label, (x, y), fontsize=7, ha="center", va="center")
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
    """Read PSNR in dB by network from JSON output of ``lamnet eval`` or ``lamnet compare``.

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
            values = [(str(name), float(value)) for name, value in pairs]
        except OSError as error:
            raise LAMNetError(f"{path}: cannot read ({error.strerror})") from None
        except (ValueError, KeyError, TypeError):
            raise LAMNetError(f"{path}: not the output of lamnet eval --json or lamnet compare --json") from None
        for name, value in values:
            if psnr.setdefault(name, value) != value:
                raise LAMNetError(f"{path}: conflicting PSNR of {name}; pass results of one dataset")
    return psnr
