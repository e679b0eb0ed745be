"""Make the tables of docs/export.md.

Usage: ``python docs/make_export.py [speed] [differences]``, on an otherwise idle machine. Makes both tables by default;
``speed`` takes minutes, ``differences`` half an hour.
"""

import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime
import torch
from lamnet_cli.allocation import configure_allocator

from lamnet_models import export, list_models
from lamnet_models.benchmarking import bench
from lamnet_models.exporting import FORMATS

configure_allocator()

ASSETS = Path(__file__).parent / "assets"


def speed() -> list[str]:
    """Return the rows of the speed table: eager, compiled and ONNX Runtime."""
    results = bench(["lamnet_x4"], modes=("eager", "compiled", "onnxruntime"), rounds=5)
    lines = [
        "| `lamnet_x4`, 320×180 → 1280×720, float32 | seconds | spread | ratio to eager |",
        "| --- | --- | --- | --- |",
    ]
    for result in results:
        ratio = f"{result.ratio(results[0]):.2f}"
        lines.append(f"| {result.mode} | {result.median:.2f} | ±{result.spread:.0%} | {ratio} |")
    return lines


def export_rows(name: str) -> list[str]:
    """Return one table row per format and precision; raises if an export differs from PyTorch."""
    lines = []
    with TemporaryDirectory() as folder:
        for format, suffix in FORMATS.items():
            for half in (False, True):
                start = time.perf_counter()
                result = export(name, Path(folder) / f"{format}-{half}{suffix}", format=format, half=half)
                row = [name, format, "float16" if half else "float32", f"{result.difference:.0e}"]
                row += [f"{result.path.stat().st_size / 1e6:.1f}", f"{time.perf_counter() - start:.0f}"]
                lines.append(f"| {' | '.join(row)} |")
                print(lines[-1], flush=True)
    return lines


def differences() -> list[str]:
    """Return the rows of the table of all models and formats; exports two models in parallel."""
    lines = ["| model | format | type | largest difference | MB | seconds |", "| --- | --- | --- | --- | --- | --- |"]
    with ProcessPoolExecutor(2, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        return lines + [row for rows in pool.map(export_rows, list_models()) for row in rows]


PARTS = {"speed": speed, "differences": differences}


def main() -> None:
    """Write the tables named on the command line, or all of them."""
    threads, capability = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    machine = (
        f"{platform.machine()} with {capability}, {threads} threads; torch {torch.__version__}, ONNX Runtime "
        f"{onnxruntime.__version__}; {date.today()}."
    )
    for part in sys.argv[1:] or PARTS:
        (ASSETS / f"export-{part}.md").write_text("\n".join([*PARTS[part](), "", machine, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
