"""Measure the packaged weights on images with JPEG artifacts and noise.

Usage: ``python docs/_generate/artifacts.py``. Each sample photograph is downscaled by 4 with ``imresize``, as in
training, degraded, and upscaled.
"""

from __future__ import annotations

from assets import ASSETS, table, write_lines

from lamnet_models.evaluation import ImageResult, evaluate
from lamnet_models.evaluation.predictors import open_predictor
from lamnet_models.image_io import write_image
from lamnet_models.image_io.grids import Box, Panel, grid

MODEL, SCALE = "lamnet_x4", 4
SHOWN, BOX = "astronaut", Box(136, 40, 160, 160)
DEGRADATIONS = ("", *(f"jpeg={quality}" for quality in (95, 90, 75, 50, 30)), *(f"noise={n}" for n in (2, 5, 10, 20)))
PICTURES = {
    "artifacts-jpeg.webp": ("", "jpeg=90", "jpeg=50"),
    "artifacts-noise.webp": ("noise=5", "noise=20"),
}


def main() -> None:
    """Write the table and the pictures."""
    predictors = [open_predictor("bicubic", SCALE), open_predictor(MODEL)]
    rows, shown = [], {}
    for degrade in DEGRADATIONS:
        panels: list[Panel] = []

        def show(result: ImageResult, panels: list[Panel] = panels, label: str = degrade or "no degradation") -> None:
            if result.score.name == SHOWN:
                caption = f"{result.model}  {result.score.psnr:.2f} dB"
                panels[-1:] = [
                    Panel(BOX.crop(result.sr), (label, caption)),
                    Panel(BOX.crop(result.hr), ("original",)),
                ]

        bicubic, network = (evaluate(p, "sample", degrade=degrade, on_image=show).psnr for p in predictors)
        label = f"`{degrade}`" if degrade else "none"
        rows.append((label, f"{bicubic:.2f} dB", f"{network:.2f} dB", f"{network - bicubic:+.2f} dB"))
        shown[degrade] = panels
    write_lines("artifacts.md", table(("`--degrade`", "bicubic", "LAMNet", "difference"), rows))
    for file, names in PICTURES.items():
        write_image(ASSETS / file, grid([shown[name] for name in names]), quality=85)


if __name__ == "__main__":
    main()
