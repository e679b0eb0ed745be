"""Make the table of scores in docs/results.md.

Usage: ``python docs/_generate/scores.py``, with Set5 and Set14 in ``LAMNET_DATA``.
"""

from assets import table, write_lines

from lamnet_models.evaluation import Evaluation, evaluate
from lamnet_models.names import VARIANTS, packaged_weights, split_name

DATASETS = ("set5", "set14")


def row(name: str, results: list[tuple[float, float] | None]) -> list[str]:
    """Return one row of the table."""
    return [name, *(f"{result[0]:.2f} / {result[1]:.4f}" if result else "" for result in results)]


def main() -> None:
    """Write the table."""
    rows = []
    results: list[Evaluation] = []
    for scale in (2, 3, 4):
        names = [name for name in packaged_weights() if VARIANTS[split_name(name)[0]]["scale"] == scale]
        for name in ("bicubic", *names):
            results = [evaluate(name, dataset, scale) for dataset in DATASETS]
            label = "bicubic" if name == "bicubic" else f"`{name}`"
            rows.append(row(f"{label} ×{scale}", [(result.psnr, result.ssim) for result in results]))
            if results[0].variant:
                rows.append(row("the paper's weights", [result.published for result in results]))
    note = f"PSNR in dB / SSIM on Y, with a border of `scale` pixels cropped; {results[0].lr}."
    write_lines("scores.md", [*table(("", *DATASETS), rows), "", note])


if __name__ == "__main__":
    main()
