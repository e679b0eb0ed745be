"""Makes the tables and the picture of docs/large-images.md: python docs/make_memory.py; some minutes."""

import multiprocessing
import os
import platform
import statistics
import time
import warnings
from datetime import date
from pathlib import Path

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the command line does, before torch allocates

import numpy as np
import torch

from lamnet_models import Upscaler, create_model
from lamnet_models.benchmarking.memory import watched_memory
from lamnet_models.datasets.samples import sample_path
from lamnet_models.images import read_rgb, write_image
from lamnet_models.pictures import Panel, grid
from lamnet_models.resize import imresize
from lamnet_models.upscaling.footprint import process_memory

ASSETS = Path(__file__).parent / "assets"
PHOTO, MODEL, ROUNDS = "chelsea", "lamnet_x4", 1
REDUCED = 0.6  # before it is enlarged: minutes instead of an hour
MODES = {
    "`0`": {"tile": 0},
    "`exact`": {"tile": "exact"},
    "`exact`, kept in files": {"tile": "exact"},
    "`128`": {"tile": 128},
    "`64`, `--tile-pad 0`": {"tile": 64, "tile_pad": 0},
}
SIZES = ((640, 480), (1920, 1080), (4000, 3000), (6000, 4000))
GAIN = 8  # of the differences that are shown


def photograph() -> np.ndarray:
    """Returns the photograph, 271×180 pixels."""
    return imresize(read_rgb(sample_path(PHOTO)), REDUCED)


def run(mode: str) -> tuple[float, int, np.ndarray]:
    """Returns seconds, bytes of memory at the peak, and pixels of one mode in this process."""
    pixels, options = photograph(), dict(MODES[mode])
    if mode.endswith("files"):
        model = create_model(MODEL, device="meta")
        options["max_memory"] = process_memory(model, *pixels.shape[:2])["exact_in_files"] + 2**25
    warnings.simplefilter("ignore")
    with watched_memory() as peak:
        upscaler = Upscaler(MODEL, **options)
        upscaler(pixels[:16, :16])  # what torch does at first
        start = time.perf_counter()
        larger = upscaler(pixels)
        return time.perf_counter() - start, peak(), larger


def in_child(mode: str) -> tuple[float, int, np.ndarray]:
    """Returns the same of a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(run, (mode,))


def modes_table(runs: dict[str, list[tuple[float, int, np.ndarray]]]) -> list[str]:
    """Returns the lines of the table of what each mode takes and gives."""
    whole = runs["`0`"]
    lines = [
        "| `--tile` | time / whole | memory | largest difference | mean difference |",
        "| --- | --- | --- | --- | --- |",
    ]
    for mode, results in runs.items():
        ratio = statistics.median(one[0] / other[0] for one, other in zip(results, whole, strict=True))
        memory = max(result[1] for result in results)
        difference = np.abs(results[0][2].astype(int) - whole[0][2])
        lines.append(f"| {mode} | {ratio:.2f} | {memory / 1e9:.2f} GB | {difference.max()} | {difference.mean():.4f} |")
    return lines


def sizes_table() -> list[str]:
    """Returns the lines of the table of what is foretold for larger images."""
    model = create_model(MODEL, device="meta")
    lines = ["| input | the whole | exact tiles | exact tiles, kept in files | files |", "| --- " * 5 + "|"]
    for width, height in SIZES:
        sizes = [f"{size / 1e9:.2f} GB" for size in process_memory(model, height, width).values()]
        lines.append(f"| {width}×{height} | {' | '.join(sizes)} |")
    return lines


def seams(runs: dict[str, list[tuple[float, int, np.ndarray]]]) -> list[Panel]:
    """Returns panels that show where modes differ from the whole image, a quarter of the size."""
    whole = runs["`0`"][0][2]
    height, width = (side // 4 * 4 for side in whole.shape[:2])
    quarters = (height // 4, 4, width // 4, 4, 3)
    panels = [Panel(whole[:height:4, :width:4], (f"{PHOTO}, {MODEL}", "the whole image"))]
    for mode, name in (
        ("`64`, `--tile-pad 0`", "tiles of 64, no pad"),
        ("`64`", "tiles of 64"),
        ("`exact`", "exact tiles"),
    ):
        difference = np.abs(runs[mode][0][2].astype(int) - whole)[:height, :width].reshape(quarters).max((1, 3))
        shown = np.minimum(GAIN * difference, 255).astype(np.uint8)
        panels.append(Panel(shown, (name, f"difference × {GAIN}")))
    return panels


def main() -> None:
    """Writes the tables and the picture."""
    runs: dict[str, list[tuple[float, int, np.ndarray]]] = {mode: [] for mode in MODES}
    for _ in range(ROUNDS):
        for mode in MODES:
            runs[mode].append(in_child(mode))
            print(mode, *runs[mode][-1][:2], flush=True)
    panels = seams(runs)
    write_image(ASSETS / "seams.png", grid([panels[:2], panels[2:]]))
    height, width = photograph().shape[:2]
    threads, capability = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    where = f"{platform.machine()} with {capability}, {threads} threads; torch {torch.__version__}; {date.today()}"
    lines = [
        *modes_table(runs),
        "",
        f"`{MODEL}` on `{PHOTO}`, {width}×{height} pixels, in float32. Each run has a process of its own; {ROUNDS} "
        f"rounds of all modes in turn. Differences in levels of 255. {where}.",
        "",
    ]
    (ASSETS / "memory.md").write_text("\n".join(lines), encoding="utf-8")
    (ASSETS / "memory-sizes.md").write_text("\n".join([*sizes_table(), ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
