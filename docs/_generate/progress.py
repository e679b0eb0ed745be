"""Draw the PSNR of the packaged weights over the LR pixels of their training.

Usage: ``python docs/_generate/progress.py``, after adding a line of a model card to ``progress.csv``: LR pixels in
millions, PSNR on the held-out photographs and on Set5 in dB.
"""

from __future__ import annotations

import csv
from math import ceil, log10
from pathlib import Path

from assets import ASSETS
from diagrams import label, svg

from lamnet_models.evaluation.results import published
from lamnet_models.names import FAMILIES, VARIANTS, find_variant

TICKS = (50, 100, 200, 500, 1000)  # million LR pixels
WIDTH, LEFT, RIGHT, HEIGHT, PITCH = 480, 46, 24, 130, 190


def progress_svg(rows: list[dict[str, str]]) -> str:
    """Return one panel for each scale, with the paper's value as a line."""
    parts = []
    for index, scale in enumerate(sorted({variant["scale"] for variant in VARIANTS.values()})):
        top = index * PITCH + 28
        names = {family: find_variant(scale, blocks) for family, blocks in FAMILIES.items()}
        points = [
            (family, float(row["pixels"]), float(row["set5"]))
            for family, name in names.items()
            for row in rows
            if row["weights"].partition(".")[0] == name
        ]
        paper = published(names["LAMNet"], "set5")[0]
        low = min(psnr for *_, psnr in points) - 0.1
        parts += panel(f"Set5 ×{scale}", top, points, paper, low)
    parts.append(label(WIDTH / 2, top + HEIGHT + 36, "LR pixels seen"))
    return svg(WIDTH, top + HEIGHT + 44, parts, "PSNR on Set5 over the LR pixels seen in training", font_size=14)


def panel(title: str, top: float, points: list[tuple[str, float, float]], paper: float, low: float) -> list[str]:
    """Return the parts of one panel, with PSNR from ``low`` to a little above the paper's value."""
    high = paper + 0.1

    def x(pixels: float) -> float:
        share = log10(pixels / TICKS[0] * 1.25) / log10(TICKS[-1] / TICKS[0] * 1.25)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(psnr: float) -> float:
        return round(top + (high - psnr) / (high - low) * HEIGHT, 1)

    line = f'<path class="wire" stroke-dasharray="5 4" d="M{LEFT} {y(paper)}L{WIDTH - RIGHT} {y(paper)}"/>'
    parts = [
        f'<text text-anchor="start" font-weight="600" x="0" y="{top - 11}">{title}, dB</text>',
        line,
        label(LEFT + 62, y(paper) + 14, f"paper, {paper:.2f} dB"),
        f'<path class="wire" d="M{LEFT} {top}L{LEFT} {top + HEIGHT}L{WIDTH - RIGHT} {top + HEIGHT}"/>',
    ]
    parts += [label(x(tick), top + HEIGHT + 15, f"{tick} M" if tick < 1000 else "1 G") for tick in TICKS]
    values = [half / 2 for half in range(ceil(2 * low), int(2 * high) + 1)]
    parts += [label(LEFT - 22, y(value) + 4, f"{value:.1f}") for value in values]
    for family, pixels, psnr in points:
        css_class, radius = ("cell", 5) if family == "LAMNet" else ("center", 4)
        description = f"<title>{family}: {psnr:.2f} dB after {pixels:.0f} M LR pixels</title>"
        parts.append(f'<circle class="{css_class}" cx="{x(pixels)}" cy="{y(psnr)}" r="{radius}">{description}</circle>')
    return parts


def read_progress() -> list[dict[str, str]]:
    """Return the rows of ``progress.csv``."""
    with open(Path(__file__).with_suffix(".csv"), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Write the drawing."""
    (ASSETS / "progress.svg").write_text(progress_svg(read_progress()), encoding="utf-8")


if __name__ == "__main__":
    main()
