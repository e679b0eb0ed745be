"""Make the tables and the figure of docs/large-images.md.

Usage: ``python docs/_generate/memory.py``; takes minutes.
"""

import multiprocessing
import statistics
import time
import warnings

import numpy as np
import torch
from assets import ASSETS, machine, table, write_lines
from lamnet_cli.allocator import configure_allocator

from lamnet_models import LAMNet, Upscaler, create_model
from lamnet_models.benchmarking.measure import track_peak_memory
from lamnet_models.data.catalog import sample_path
from lamnet_models.image_io import read_rgb, write_image
from lamnet_models.image_io.grids import Panel, grid
from lamnet_models.inference.planner import estimate_process_memory
from lamnet_models.resize import imresize

configure_allocator()

PHOTO, MODEL, ROUNDS = "chelsea", "lamnet_x4", 7
SIDE = 320
DOWNSCALE = 0.6  # keeps the run to minutes instead of an hour
MODES = {
    "`0`": {"tile": 0},
    "`exact`": {"tile": "exact"},
    "`exact`, memory-mapped": {"tile": "exact"},
    "`128`": {"tile": 128},
    "`64`, `--tile-pad 0`": {"tile": 64, "tile_pad": 0},
}
SIZES = ((640, 480), (1920, 1080), (4000, 3000), (6000, 4000))
GAIN = 8  # amplification of the differences in the figure


def photograph() -> np.ndarray:
    """Return the photograph, 271×180 pixels."""
    return imresize(read_rgb(sample_path(PHOTO)), DOWNSCALE)


def run(mode: str) -> tuple[int, np.ndarray]:
    """Return peak memory in bytes and SR pixels of one mode, run in this process."""
    pixels, options = photograph(), dict(MODES[mode])
    if mode.endswith("memory-mapped"):
        model = create_model(MODEL, device="meta")
        options["max_memory"] = estimate_process_memory(model, *pixels.shape[:2])["exact_in_files"] + 2**25
    warnings.simplefilter("ignore")
    with track_peak_memory() as peak:
        sr = Upscaler(MODEL, **options)(pixels)
        return peak(), sr


def run_in_child(mode: str) -> tuple[int, np.ndarray]:
    """Return the result of ``run`` in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(run, (mode,))


def modes_table(runs: dict[str, tuple[int, np.ndarray]]) -> list[str]:
    """Return the table of memory and differences by mode."""
    rows = []
    for mode, (memory, pixels) in runs.items():
        difference = np.abs(pixels.astype(int) - runs["`0`"][1])
        rows.append((mode, f"{memory / 1e9:.2f} GB", difference.max(), f"{difference.mean():.4f}"))
    return table(("`--tile`", "memory", "largest difference", "mean difference"), rows)


def times_table() -> list[str]:
    """Return the table of times of a network with two blocks of one mixer each."""
    torch.set_num_threads(1)
    network = LAMNet(scale=4, num_blocks=2, depth=1)
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    upscalers = {tile: Upscaler(network, tile=tile) for tile in (0, "exact", 128)}
    seconds: dict[int | str, list[float]] = {tile: [] for tile in upscalers}
    for _ in range(ROUNDS + 1):  # the first round is a warm-up
        for tile, upscaler in upscalers.items():
            start = time.process_time()
            upscaler(pixels)
            seconds[tile].append(time.process_time() - start)
    rows = []
    for tile, measured in seconds.items():
        ratio = statistics.median(tiled / whole for tiled, whole in zip(measured[1:], seconds[0][1:], strict=True))
        rows.append((f"`{tile}`", f"{statistics.median(measured[1:]):.1f} s", f"{ratio:.2f}"))
    return table(("`--tile`", "time", "time / whole"), rows)


def sizes_table() -> list[str]:
    """Return the table of memory estimates for larger images."""
    model = create_model(MODEL, device="meta")
    rows = []
    for width, height in SIZES:
        sizes = [f"{size / 1e9:.2f} GB" for size in estimate_process_memory(model, height, width).values()]
        rows.append((f"{width}×{height}", *sizes))
    return table(("input", "whole image", "exact tiles", "exact tiles, memory-mapped", "files"), rows)


def seams(runs: dict[str, tuple[int, np.ndarray]]) -> list[Panel]:
    """Return panels of the differences between each mode and the whole image, downscaled by 4."""
    whole = runs["`0`"][1]
    height, width = (side // 4 * 4 for side in whole.shape[:2])
    quarters = (height // 4, 4, width // 4, 4, 3)
    panels = [Panel(whole[:height:4, :width:4], (f"{PHOTO}, {MODEL}", "whole image"))]
    for mode, name in (
        ("`64`, `--tile-pad 0`", "tiles of 64, no pad"),
        ("`128`", "tiles of 128"),
        ("`exact`", "exact tiles"),
    ):
        difference = np.abs(runs[mode][1].astype(int) - whole)[:height, :width].reshape(quarters).max((1, 3))
        shown = np.minimum(GAIN * difference, 255).astype(np.uint8)
        panels.append(Panel(shown, (name, f"{GAIN} times the difference")))
    return panels


def main() -> None:
    """Write the tables and the figure."""
    runs = {mode: run_in_child(mode) for mode in MODES}
    panels = seams(runs)
    write_image(ASSETS / "seams.png", grid([panels[:2], panels[2:]]))
    height, width = photograph().shape[:2]
    tables = {
        "memory-modes": [
            *modes_table(runs),
            "",
            f"`{MODEL}` on `{PHOTO}`, {width}×{height} pixels, in float32; one process per run; "
            f"differences in levels of 255; {machine()}.",
        ],
        "memory-sizes": sizes_table(),
        "memory-times": [
            *times_table(),
            "",
            f"CPU time of one thread for {SIDE}×{SIDE} pixels, median of {ROUNDS} interleaved rounds, "
            f"on a network with two of the 24 identical mixers of `{MODEL}`; {machine()}.",
        ],
    }
    for name, lines in tables.items():
        write_lines(f"{name}.md", lines)


if __name__ == "__main__":
    main()
