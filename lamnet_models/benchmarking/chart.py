"""The measured networks as bubbles, in the manner of the paper's figure 6."""

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
    """Writes a chart with a bubble for each measurement, whose area is the network's number of parameters.

    Args:
        results: What was measured; times lie along the horizontal axis.
        path: File to write, ``.png``, ``.svg`` or ``.pdf``.
        scale: Factor of enlargement of peers.
        psnr: PSNR in dB by network, along the vertical axis; networks without one are left out. If None, that axis has
            the number of images a second.
    """
    from matplotlib.figure import Figure  # without pyplot, which would look for a screen

    shown = [result for result in results if result.valid and (psnr is None or result.name in psnr)]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for result in shown:
        parameters = sum(parameter.numel() for parameter in open_network(result.name, scale).parameters())
        x, y = 1000 * result.median, psnr[result.name] if psnr else result.images / result.median
        axes.scatter(x, y, s=parameters / 1500, alpha=0.6)
        label = f"{Path(result.name).name}\n{result.mode}, {result.precision}, {parameters / 1000:,.0f}K"
        axes.annotate(label, (x, y), fontsize=7, ha="center", va="center")
    axes.set_xscale("log")
    axes.margins(0.2)
    axes.set_xlabel("median time of a pass in ms; area: parameters")
    if psnr:
        axes.set_ylabel("PSNR in dB")
    else:
        axes.set_yscale("log")
        axes.set_ylabel("images a second")
    axes.grid(alpha=0.3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def read_psnr(paths: Iterable[str | os.PathLike]) -> dict[str, float]:
    """Returns the PSNR in dB by network, from what ``lamnet eval --json`` and ``lamnet compare --json`` printed.

    Args:
        paths: The files; a JSON object of names and numbers will do, too.

    Raises:
        LAMNetError: If a file cannot be read, is none of these, or tells two values of a network.
    """
    found: dict[str, float] = {}
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
            raise LAMNetError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise LAMNetError(f"{path} is not what lamnet eval or lamnet compare prints with --json") from None
        for name, value in values:
            if found.setdefault(name, value) != value:
                raise LAMNetError(f"{path} tells another PSNR of {name} than before: give one set of images")
    return found
