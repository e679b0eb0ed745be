"""Measure clean and photo weights on images with JPEG artifacts and noise.

Usage: ``LAMNET_DATA=FOLDER python docs/_generate/artifacts.py PHOTOS``, with Set5 and Set14 in the first folder and the
training photographs in the second. The LR images are degraded and upscaled.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
from assets import ASSETS, table, write_lines

from lamnet_models import Upscaler
from lamnet_models.data import Dataset
from lamnet_models.evaluation import ImageResult, evaluate
from lamnet_models.evaluation.predictors import Predictor, open_predictor
from lamnet_models.image_io import write_image
from lamnet_models.image_io.grids import Box, Panel, grid
from lamnet_models.inference.upscaler import UpscaleOutput
from lamnet_models.names import INTERPOLATIONS, default_model_for_scale, find_local_weights
from lamnet_models.training.images import training_data

SCALES = (2, 3, 4)
HELD_OUT, HOLDOUT, CROP = "held-out", 20, 256  # as in the recipe of the weights
DEGRADATIONS = {
    "sample": ("", *(f"jpeg={quality}" for quality in (95, 90, 75, 50, 30)), "noise=5", "noise=10", "noise=5,jpeg=75"),
    "set5": ("", "jpeg=75", "jpeg=50", "noise=10"),
    "set14": ("", "jpeg=75", "jpeg=50", "noise=10"),
    HELD_OUT: ("", "jpeg=90", "jpeg=75", "jpeg=50", "noise=10"),
}
STRENGTHS = (0, 0.25, 0.5, 0.75, 1)
STRENGTH_SCALE, STRENGTH_DEGRADATIONS = 4, ("", "jpeg=90", "jpeg=75", "jpeg=50", "noise=10")

SHOWN, BOX = "astronaut", Box(136, 40, 160, 160)
SHOWN_SCALE = 4
PICTURES = {
    "artifacts-jpeg.webp": ("", "jpeg=75", "jpeg=50"),
    "artifacts-noise.webp": ("noise=5", "noise=10"),
    "artifacts-phone.webp": ("noise=5,jpeg=75",),
}


def label(degrade: str) -> str:
    """Return the value of ``--degrade`` for a table."""
    return f"`{degrade}`" if degrade else "none"


def open_photographs(folder: str, scale: int) -> Dataset:
    """Return the photographs of a folder that were held out from the training."""
    _, held_out = training_data([folder], scale, holdout=HOLDOUT)
    return replace(held_out, crop=CROP)


def write_scores(photographs: str) -> None:
    """Write the tables of PSNR, and the pictures."""
    lines, shown = [], {}
    for scale in SCALES:
        model = default_model_for_scale(scale)
        predictors = [open_predictor(name, scale) for name in (*INTERPOLATIONS, model, f"{model}.photo")]
        tags = (f"`{find_local_weights(model, purpose).stem.partition('.')[2]}`" for purpose in ("clean", "photo"))
        rows = []
        for dataset, degradations in DEGRADATIONS.items():
            images = open_photographs(photographs, scale) if dataset == HELD_OUT else dataset
            for degrade in degradations:
                panels: list[Panel] = []

                def show(result: ImageResult, panels: list[Panel] = panels, name: str = degrade or "none") -> None:
                    if result.score.name == SHOWN:
                        caption = f"{result.model}  {result.score.psnr:.2f} dB"
                        panels[-1:] = [
                            Panel(BOX.crop(result.sr), (name, caption)),
                            Panel(BOX.crop(result.hr), ("original",)),
                        ]

                scores = [evaluate(p, images, degrade=degrade, on_image=show).psnr for p in predictors]
                rows.append((dataset, label(degrade), *(f"{score:.2f}" for score in scores)))
                if (dataset, scale) == ("sample", SHOWN_SCALE):
                    shown[degrade] = panels
        lines += [*table((f"×{scale}", "`--degrade`", *INTERPOLATIONS, *tags), rows), ""]
    write_lines("artifacts.md", lines)
    for file, names in PICTURES.items():
        write_image(ASSETS / file, grid([shown[name] for name in names]), quality=85)


def write_strengths() -> None:
    """Write the table of strengths."""
    model = default_model_for_scale(STRENGTH_SCALE)
    rows = []
    for strength in STRENGTHS:
        upscaler = Upscaler(model, strength=strength)
        rows.append((f"{strength:g}", *strength_scores(Predictor(str(strength), STRENGTH_SCALE, upscaler.run))))
    ends = [Upscaler(model, strength=strength) for strength in (0, 1)]

    def average(image: np.ndarray) -> UpscaleOutput[np.ndarray]:
        first, second = (upscaler.run(image) for upscaler in ends)
        mean = (first.image.astype(np.float32) + second.image) / 2
        return UpscaleOutput(np.rint(mean).astype(np.uint8), first.plan, first.precision)

    rows.append(("average of outputs", *strength_scores(Predictor("average", STRENGTH_SCALE, average))))
    write_lines("artifacts-strength.md", table(("strength", *map(label, STRENGTH_DEGRADATIONS)), rows))


def strength_scores(predictor: Predictor) -> list[str]:
    """Return the PSNR on the sample photographs for each degradation."""
    return [f"{evaluate(predictor, 'sample', degrade=degrade).psnr:.2f}" for degrade in STRENGTH_DEGRADATIONS]


if __name__ == "__main__":
    write_scores(sys.argv[1])
    write_strengths()
