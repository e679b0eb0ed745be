"""Output images of an evaluation: SR images and worst crops."""

from __future__ import annotations

import heapq
from pathlib import Path

import numpy as np

from ..data import Dataset
from ..image_io import Picture, write_image
from ..image_io.grids import Panel, best_box, grid
from ..resize import imresize
from .evaluate import ImageResult
from .metrics import psnr, rgb_to_y

_WORST = 3
_SIDE = 64


class ImageSaver:
    """Writer of SR images to ``FOLDER/DATASET_x4/MODEL/NAME.png``, with crops of the worst.

    Args:
        folder: The folder, created if missing.
        dataset: The evaluated dataset.
        model: Name of the model.
    """

    def __init__(self, folder: Path, dataset: Dataset, model: str) -> None:
        self._model = model
        self._folder = Path(folder) / f"{dataset.name}_x{dataset.scale}" / model.replace("/", "_")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._worst: list[tuple[float, int, str, list[Panel]]] = []

    def save(self, result: ImageResult) -> None:
        """Write one image; pass it as ``on_image`` of ``evaluate``."""
        write_image(self._folder / f"{Path(result.score.name).stem}.png", Picture(result.sr))
        badness = -result.score.psnr
        if len(self._worst) < _WORST or badness > self._worst[0][0]:
            entry = (badness, result.done, result.score.name, self._panels(result))
            push = heapq.heappush if len(self._worst) < _WORST else heapq.heapreplace
            push(self._worst, entry)

    def save_worst(self) -> None:
        """Write ``worst.png``: crops with the largest errors of the images with the lowest PSNR."""
        rows = [panels for *_, panels in sorted(self._worst, key=lambda entry: -entry[0])]
        if rows:
            write_image(self._folder / "worst.png", grid(rows))

    def _panels(self, result: ImageResult) -> list[Panel]:
        error = (rgb_to_y(result.sr) - rgb_to_y(result.hr)) ** 2
        box = best_box(error, _SIDE)
        scale = result.hr.shape[0] // result.lr.shape[0]
        hr = box.crop(result.hr)
        panels = [Panel(result.hr, (result.score.name, f"{result.score.psnr:.2f} dB overall"), box)]
        for name, image in (("bicubic", imresize(result.lr, scale)), (self._model, result.sr)):
            crop: np.ndarray = box.crop(image)
            panels.append(Panel(crop, (name, f"{psnr(crop, hr):.2f} dB")))
        return [*panels, Panel(hr, ("original", "PSNR of the crop"))]
