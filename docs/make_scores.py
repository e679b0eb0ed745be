"""Makes the table of the packaged weights' scores: python docs/make_scores.py, with Set5 and Set14 in LAMNET_DATA."""

from pathlib import Path

from lamnet_models.evaluation import Evaluation, evaluate
from lamnet_models.pretrained import packaged_weights

SETS = ("set5", "set14")
TABLE = Path(__file__).parent / "assets" / "scores.md"


def row(name: str, results: list[tuple[float, float] | None]) -> str:
    """Returns one line of the table."""
    return f"| {name} | {' | '.join('%.2f / %.4f' % result if result else '' for result in results)} |"  # noqa: UP031


def main() -> None:
    """Writes the table."""
    lines = ["| | " + " | ".join(SETS) + " |", "| --- " * (len(SETS) + 1) + "|"]
    results: list[Evaluation] = []
    for scale in (2, 3, 4):
        names = [name for name in packaged_weights() if name.partition(".")[0].endswith(f"x{scale}")]
        for name in ("bicubic", *names):
            results = [evaluate(name, dataset, scale) for dataset in SETS]
            shown = "bicubic" if name == "bicubic" else f"`{name}`"
            lines.append(row(f"{shown} ×{scale}", [(result.psnr, result.ssim) for result in results]))
            if results[0].variant:
                lines.append(row("the paper's weights", [result.published for result in results]))
    lines += ["", f"PSNR in dB / SSIM on Y, as many pixels of border left out as the scale; {results[0].lr}.", ""]
    TABLE.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
