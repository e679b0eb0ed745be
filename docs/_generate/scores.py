"""Make the table of scores in docs/results.md.

Usage: ``python docs/_generate/scores.py``, with Set5 and Set14 in ``LAMNET_DATA``, and BSD100 and Urban100 if present.
"""

from assets import table, write_lines
from zoo import DATASETS

from lamnet_models.data import open_dataset
from lamnet_models.errors import DatasetError
from lamnet_models.evaluation import Evaluation, evaluate
from lamnet_models.names import VARIANTS, packaged_weights, purpose_of, split_name


def is_available(dataset: str) -> bool:
    """Return whether a dataset can be evaluated."""
    try:
        open_dataset(dataset, 2)
    except DatasetError:
        return False
    return True


def row(name: str, results: list[tuple[float, float] | None]) -> list[str]:
    """Return one row of the table."""
    return [name, *(f"{result[0]:.2f} / {result[1]:.4f}" if result else "" for result in results)]


def main() -> None:
    """Write the table."""
    rows = []
    datasets = [dataset for dataset in DATASETS if is_available(dataset)]
    results: list[Evaluation] = []
    for scale in (2, 3, 4):
        names = [name for name in packaged_weights() if VARIANTS[split_name(name)[0]]["scale"] == scale]
        for name in ("bicubic", *names):
            results = [evaluate(name, dataset, scale) for dataset in datasets]
            label = "bicubic" if name == "bicubic" else f"`{name}`"
            rows.append(row(f"{label} ×{scale}", [(result.psnr, result.ssim) for result in results]))
            if results[0].variant and purpose_of(name) == "clean":
                rows.append(row("the paper's weights", [result.published for result in results]))
    note = f"PSNR in dB / SSIM on Y, with a border of `scale` pixels cropped; {results[0].lr}."
    write_lines("scores.md", [*table(("", *datasets), rows), "", note])


if __name__ == "__main__":
    main()
