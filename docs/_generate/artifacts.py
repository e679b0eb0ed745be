"""Measure the packaged weights on images with JPEG artifacts and noise.

Usage: ``python docs/_generate/artifacts.py``. Each sample photograph is downscaled by 4 with ``imresize``, as in
training, degraded, and upscaled.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from assets import ASSETS, table, write_lines
from PIL import Image

from lamnet_models import Upscaler
from lamnet_models.data.catalog import SAMPLES, sample_path
from lamnet_models.evaluation import imresize, psnr
from lamnet_models.image_io import read_rgb, write_image
from lamnet_models.image_io.grids import Box, Panel, grid

MODEL, SCALE = "lamnet_x4", 4
SHOWN, BOX = "astronaut", Box(136, 40, 160, 160)


def jpeg(quality: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that compresses an image as JPEG with 4:2:0 chroma subsampling."""

    def degrade(image: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=2)
        return np.asarray(Image.open(file))

    return degrade


def noise(sigma: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that adds Gaussian noise of standard deviation ``sigma`` (0 to 255)."""

    def degrade(image: np.ndarray) -> np.ndarray:
        values = image + np.random.default_rng(0).normal(0, sigma, image.shape)
        return values.round().clip(0, 255).astype(np.uint8)

    return degrade


DEGRADATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "no degradation": lambda image: image,
    **{f"JPEG, quality {quality}": jpeg(quality) for quality in (95, 90, 75, 50, 30)},
    **{f"noise of {sigma} levels": noise(sigma) for sigma in (2, 5, 10, 20)},
}
PICTURES = {
    "artifacts-jpeg.webp": ("no degradation", "JPEG, quality 90", "JPEG, quality 50"),
    "artifacts-noise.webp": ("noise of 5 levels", "noise of 20 levels"),
}


def main() -> None:
    """Write the table and the pictures."""
    upscaler = Upscaler(MODEL)
    gains: dict[str, list[tuple[float, float]]] = {name: [] for name in DEGRADATIONS}
    shown: dict[str, list[Panel]] = {}
    for sample in SAMPLES:
        hr = read_rgb(sample_path(sample))
        height, width = (side // SCALE * SCALE for side in hr.shape[:2])
        hr = hr[:height, :width]
        lr = imresize(hr, 1 / SCALE)
        for name, degrade in DEGRADATIONS.items():
            degraded = degrade(lr)
            results = {"bicubic": imresize(degraded, SCALE), MODEL: upscaler(degraded)}
            scores = {method: psnr(result, hr, border=SCALE) for method, result in results.items()}
            gains[name].append((scores["bicubic"], scores[MODEL]))
            if sample == SHOWN:
                shown[name] = [
                    *(
                        Panel(BOX.crop(image), (name, f"{method}  {scores[method]:.2f} dB"))
                        for method, image in results.items()
                    ),
                    Panel(BOX.crop(hr), ("original",)),
                ]
    rows = []
    for name, pairs in gains.items():
        bicubic, network = np.mean(pairs, axis=0)
        rows.append((name, f"{bicubic:.2f} dB", f"{network:.2f} dB", f"{network - bicubic:+.2f} dB"))
    columns = ("degradation of the LR image", "bicubic", "LAMNet", "difference")
    write_lines("artifacts.md", table(columns, rows))
    for file, names in PICTURES.items():
        write_image(ASSETS / file, grid([shown[name] for name in names]), quality=85)


if __name__ == "__main__":
    main()
