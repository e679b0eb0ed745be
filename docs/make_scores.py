"""Make the table of scores in docs/results.md.

Usage: ``python docs/make_scores.py``, with Set5 and Set14 in ``LAMNET_DATA``.
"""

from pathlib import Path

from lamnet_models.evaluation import Evaluation, evaluate
from lamnet_models.names import VARIANTS, packaged_weights, split_name

DATASETS = ("set5", "set14")
TABLE = Path(__file__).parent / "assets" / "scores.md"


def row(name: str, results: list[tuple[float, float] | None]) -> str:
    """Return one row of the table."""
    return f"| {name} | {' | '.join('%.2f / %.4f' % result if result else '' for result in results)} |"  # noqa: UP031


def main() -> None:
    """Write the table."""
    lines = ["| | " + " | ".join(DATASETS) + " |", "| --- " * (len(DATASETS) + 1) + "|"]
    results: list[Evaluation] = []
    for scale in (2, 3, 4):
        names = [name for name in packaged_weights() if VARIANTS[split_name(name)[0]]["scale"] == scale]
        for name in ("bicubic", *names):
            results = [evaluate(name, dataset, scale) for dataset in DATASETS]
            label = "bicubic" if name == "bicubic" else f"`{name}`"
            lines.append(row(f"{label} ×{scale}", [(result.psnr, result.ssim) for result in results]))
            if results[0].variant:
                lines.append(row("the paper's weights", [result.published for result in results]))
    lines += ["", f"PSNR in dB / SSIM on Y, with a border of `scale` pixels cropped; {results[0].lr}.", ""]
    TABLE.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
