"""Make the tables of docs/export.md.

Usage: ``python docs/_generate/export.py [speed] [differences]``, on an otherwise idle machine. Makes both tables by
default; ``speed`` takes minutes, ``differences`` half an hour.
"""

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime
import torch
from assets import machine, table, table_row, write_lines
from lamnet_cli.allocator import configure_allocator

from lamnet_models import export, list_models
from lamnet_models.benchmarking import bench
from lamnet_models.exporting import FORMATS

configure_allocator()


def speed() -> list[str]:
    """Return the rows of the speed table: CPU kernels, plain and compiled PyTorch, and ONNX Runtime."""
    names = {
        ("eager", "native"): "PyTorch with CPU kernels",
        ("eager", "eager"): "plain PyTorch",
        ("compiled", "eager"): "compiled PyTorch",
        ("onnxruntime", None): "ONNX Runtime",
    }
    results = bench(["lamnet_x4"], modes=("eager", "compiled", "onnxruntime"), backends=("native", "eager"), rounds=5)
    shown = [result for result in results if (result.mode, result.backend) in names]
    rows = (
        (names[r.mode, r.backend], f"{r.median:.2f}", f"±{r.spread:.0%}", f"{r.ratio(results[0]):.2f}") for r in shown
    )
    return table(("`lamnet_x4`, 320×180 → 1280×720, float32", "seconds", "spread", "ratio"), rows)


def export_rows(name: str) -> list[list[str]]:
    """Return one table row per format and precision; raises if an export differs from PyTorch."""
    rows = []
    with TemporaryDirectory() as folder:
        for format, suffix in FORMATS.items():
            for half in (False, True):
                start = time.perf_counter()
                result = export(name, Path(folder) / f"{format}-{half}{suffix}", format=format, half=half)
                row = [name, format, "float16" if half else "float32", f"{result.difference:.0e}"]
                row += [f"{result.path.stat().st_size / 1e6:.1f}", f"{time.perf_counter() - start:.0f}"]
                rows.append(row)
                print(table_row(row), flush=True)
    return rows


def differences() -> list[str]:
    """Return the rows of the table of all models and formats; exports two models in parallel."""
    columns = ("model", "format", "type", "largest difference", "MB", "seconds")
    with ProcessPoolExecutor(2, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        return table(columns, chain.from_iterable(pool.map(export_rows, list_models())))


PARTS = {"speed": speed, "differences": differences}


def main() -> None:
    """Write the tables named on the command line, or all of them."""
    versions = f"{machine(f'ONNX Runtime {onnxruntime.__version__}')}."
    for part in sys.argv[1:] or PARTS:
        write_lines(f"export-{part}.md", [*PARTS[part](), "", versions])


if __name__ == "__main__":
    main()
