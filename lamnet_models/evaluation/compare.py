"""Networks beside each other on one set: their figures, and details where they differ."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from ..datasets import Dataset, Pair, open_dataset
from ..errors import DatasetError
from ..images import Picture
from ..pictures import Box, Panel, best_box, grid
from .evaluate import Step, evaluate
from .methods import BICUBIC, Method, open_method
from .metrics import psnr, rgb_to_y
from .result import Evaluation


@dataclass(frozen=True)
class Detail:
    """A part of one image to look at.

    Attributes:
        image: The image's name in the set.
        box: The part, in pixels of the large image; None for where the methods differ most.
    """

    image: str
    box: Box | None = None


@dataclass(frozen=True)
class Comparison:
    """Several methods on one set.

    Attributes:
        evaluations: Their figures, in the order in which they were named.
        details: What the picture shows.
        picture: A row for each detail: where it lies in the image; what each method makes of it, with the PSNR of that
            part; the original. None if no details were asked for.
    """

    evaluations: tuple[Evaluation, ...]
    details: tuple[Detail, ...]
    picture: Picture | None


def compare(
    models: list[nn.Module | str | os.PathLike],
    dataset: str | os.PathLike | Dataset = "set5",
    scale: int | None = None,
    data_dir: str | os.PathLike | None = None,
    *,
    details: int | list[Detail] = 3,
    side: int = 64,
    on_step: Callable[[str, Step], None] | None = None,
    device: str = "auto",
    precision: str = "fp32",
    tile: int | str = 0,
    self_ensemble: bool = False,
    **options: Any,
) -> Comparison:
    """Measures several methods on one set and shows details of what they make of it.

    Args:
        models: The methods, each as for [`evaluate`][lamnet_models.evaluation.evaluate].
        dataset: The set.
        scale: Factor of enlargement; by default the networks' own.
        data_dir: Where to look for the set.
        details: What to show, or how many of the details in which the methods differ most, each of another image.
        side: Width and height in pixels of the details that are chosen here.
        on_step: Called for each image with the method's name and what it made.
        device: Where to compute.
        precision: Type to compute in.
        tile: Side of the tiles.
        self_ensemble: Whether the networks average over eight flips and rotations.
        **options: Further arguments of [`evaluate`][lamnet_models.evaluation.evaluate].

    Raises:
        ValueError: If an argument is out of its range, or the methods have different scales.
        DatasetError: If there is no such set, or no such image in it.
        LAMNetError: If there is no such model, or not enough memory.
    """
    methods = _open_all(models, scale, device=device, precision=precision, tile=tile, self_ensemble=self_ensemble)
    found = open_dataset(dataset, methods[0].scale, data_dir, options.get("lr_border", "mirror"))
    wanted = details if isinstance(details, list) else []
    pairs = [_pair(found, detail) for detail in wanted]  # refused before anything is computed
    evaluations = tuple(
        evaluate(
            method,
            found,
            precision=precision,
            tile=tile,
            on_step=on_step and (lambda step, name=method.name: on_step(name, step)),
            **options,
        )
        for method in methods
    )
    if isinstance(details, int):
        wanted = [Detail(name) for name in _most_different(evaluations)[:details]]
        pairs = [_pair(found, detail) for detail in wanted]
    channel = evaluations[0].channel
    rows, shown = [], []
    for detail, pair in zip(wanted, pairs, strict=True):
        truth, reduced = found.read(pair)
        outputs = [method.enlarge(reduced) for method in methods]
        box = detail.box or best_box(_disagreement(outputs, truth), side)
        if box.crop(truth).shape[:2] != (box.height, box.width):
            raise DatasetError(f"{pair.name} has {truth.shape[1]}×{truth.shape[0]} pixels: the detail lies outside")
        shown.append(replace(detail, box=box))
        rows.append(
            [
                Panel(truth, (pair.name, f"{found.name} x{found.scale}"), box),
                *(
                    Panel(
                        box.crop(output), (method.name, f"{psnr(box.crop(output), box.crop(truth), 0, channel):.2f} dB")
                    )
                    for method, output in zip(methods, outputs, strict=True)
                ),
                Panel(box.crop(truth), ("original", "PSNR")),
            ]
        )
    return Comparison(evaluations, tuple(shown), grid(rows) if rows else None)


def _open_all(models: list[nn.Module | str | os.PathLike], scale: int | None, **options: Any) -> list[Method]:
    if not models:
        raise ValueError("models is empty: name at least one")
    networks = [model for model in models if model != BICUBIC]
    opened = {id(model): open_method(model, scale, **options) for model in networks}
    scales = {method.scale for method in opened.values()} or {scale}
    if len(scales) > 1:
        each = ", ".join(f"{method.name} ×{method.scale}" for method in opened.values())
        raise ValueError(f"models have different scales: {each}")
    return [opened.get(id(model)) or open_method(BICUBIC, *scales) for model in models]


def _pair(dataset: Dataset, detail: Detail) -> Pair:
    pair = next((pair for pair in dataset.pairs if pair.name == detail.image), None)
    if pair is None:
        names = ", ".join(pair.name for pair in dataset.pairs[:10])
        raise DatasetError(f"{dataset.name} has no image {detail.image!r}: it has {names}")
    return pair


def _most_different(evaluations: tuple[Evaluation, ...]) -> list[str]:
    """Returns the images' names, those first on whose PSNR the methods differ most; of one method, the worst."""
    scores = [{score.name: min(score.psnr, 99.0) for score in evaluation.images} for evaluation in evaluations]
    names = [name for name in scores[0] if all(name in other for other in scores)]
    spreads = {name: max(s[name] for s in scores) - min(s[name] for s in scores) for name in names}
    return sorted(names, key=lambda name: (-spreads[name], scores[0][name]))


def _disagreement(outputs: list[np.ndarray], truth: np.ndarray) -> np.ndarray:
    """Returns for each pixel how far the methods' squared errors lie apart or, of one method, its own."""
    errors = [(rgb_to_y(output) - rgb_to_y(truth)) ** 2 for output in outputs]
    return np.ptp(errors, axis=0) if errors[1:] else errors[0]
