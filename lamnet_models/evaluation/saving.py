"""Pictures of an evaluation: what the network made, and where it failed most."""

from __future__ import annotations

import heapq
from pathlib import Path

import numpy as np

from ..datasets import Dataset
from ..images import Picture, write_image
from ..pictures import Panel, best_box, grid
from ..resize import imresize
from .evaluate import Step
from .metrics import psnr, rgb_to_y

_WORST = 3
_SIDE = 64


class ImageSaver:
    """Writes an evaluation's images as ``FOLDER/SET_x4/METHOD/NAME.png``, and details of the worst beside them.

    Args:
        folder: The folder; it is made.
        dataset: The set that is measured on.
        method: Name of the method.
    """

    def __init__(self, folder: Path, dataset: Dataset, method: str) -> None:
        self._method = method
        self._folder = Path(folder) / f"{dataset.name}_x{dataset.scale}" / method.replace("/", "_")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._worst: list[tuple[float, int, str, list[Panel]]] = []

    def save(self, step: Step) -> None:
        """Writes one image; for ``evaluate``'s ``on_step``."""
        write_image(self._folder / f"{Path(step.score.name).stem}.png", Picture(step.enlarged))
        badness = -step.score.psnr
        if len(self._worst) < _WORST or badness > self._worst[0][0]:
            entry = (badness, step.done, step.score.name, self._panels(step))
            push = heapq.heappush if len(self._worst) < _WORST else heapq.heapreplace
            push(self._worst, entry)

    def save_worst(self) -> None:
        """Writes the details with the largest errors of the images with the lowest PSNR, as ``worst.png``."""
        rows = [panels for *_, panels in sorted(self._worst, key=lambda entry: -entry[0])]
        if rows:
            write_image(self._folder / "worst.png", grid(rows))

    def _panels(self, step: Step) -> list[Panel]:
        error = (rgb_to_y(step.enlarged) - rgb_to_y(step.truth)) ** 2
        box = best_box(error, _SIDE)
        scale = step.truth.shape[0] // step.reduced.shape[0]
        truth = box.crop(step.truth)
        panels = [Panel(step.truth, (step.score.name, f"{step.score.psnr:.2f} dB in all"), box)]
        for name, image in (("bicubic", imresize(step.reduced, scale)), (self._method, step.enlarged)):
            part: np.ndarray = box.crop(image)
            panels.append(Panel(part, (name, f"{psnr(part, truth):.2f} dB")))
        return [*panels, Panel(truth, ("original", "PSNR of the detail"))]
