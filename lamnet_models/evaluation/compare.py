"""Comparison of models on one dataset, and of one model with bicubic on one photograph."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..data import Dataset, Pair, open_dataset
from ..data.catalog import read_photo
from ..errors import DatasetError, ImageError
from ..factory import resolve_model
from ..image_io import Picture
from ..image_io.grids import Box, Panel, best_box, grid, local_contrast
from ..inference import upscale
from ..resize import imresize
from .evaluate import ImageResult, evaluate
from .metrics import psnr, rgb_to_y, ssim
from .predictors import Predictor, is_interpolation, open_predictor
from .results import Evaluation


@dataclass(frozen=True)
class Detail:
    """A crop of one image.

    Attributes:
        image: Name of the image in the dataset.
        box: Crop in HR pixels; None for the region where the models differ most.
    """

    image: str
    box: Box | None = None


@dataclass(frozen=True)
class Comparison:
    """Results of several models on one dataset.

    Attributes:
        evaluations: One evaluation per model, in the given order.
        details: Crops shown in the picture.
        picture: One row per crop: its location in the image; each model's output with its PSNR; the HR crop. None
            without details.
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
    on_image: Callable[[ImageResult], None] | None = None,
    device: str = "auto",
    precision: str = "fp32",
    tile: int | str = 0,
    self_ensemble: bool = False,
    **options: Any,
) -> Comparison:
    """Evaluate several models on one dataset and crop the regions where they differ.

    Args:
        models: The models, each as for [`evaluate`][lamnet_models.evaluation.evaluate.evaluate].
        dataset: The dataset.
        scale: Scale factor; by default the models' own.
        data_dir: Dataset root.
        details: Crops to show, or the number of crops where the models differ most, each of another image.
        side: Width and height in pixels of automatically chosen crops.
        on_image: Called with the result of each image of each model.
        device: Device to compute on.
        precision: Computation dtype.
        tile: Tile side in pixels.
        self_ensemble: Whether to average over eight flips and rotations.
        **options: Further arguments of [`evaluate`][lamnet_models.evaluation.evaluate.evaluate].

    Raises:
        ValueError: If an argument is out of range, or the models have different scales.
        DatasetError: If the dataset or an image in it is not found.
        LAMNetError: If a model is not found, or memory is too small.
    """
    predictors = _open_predictors(
        models, scale, device=device, precision=precision, tile=tile, self_ensemble=self_ensemble
    )
    read = {name: options.pop(name) for name in ("lr_border", "degrade") if name in options}
    opened = open_dataset(dataset, predictors[0].scale, data_dir, **read)
    crops = details if isinstance(details, list) else []
    pairs = [_find_pair(opened, detail) for detail in crops]  # validated before the evaluation
    evaluations = tuple(evaluate(predictor, opened, on_image=on_image, **options) for predictor in predictors)
    if isinstance(details, int):
        crops = [Detail(name) for name in _rank_by_spread(evaluations)[:details]]
        pairs = [_find_pair(opened, detail) for detail in crops]
    channel = evaluations[0].channel
    rows, chosen = [], []
    for detail, pair in zip(crops, pairs, strict=True):
        hr, lr = opened.read(pair)
        outputs = [predictor.run(lr).image for predictor in predictors]
        box = detail.box or best_box(_error_spread(outputs, hr), side)
        if box.crop(hr).shape[:2] != (box.height, box.width):
            raise DatasetError(
                f"box of {pair.name} must be inside its {hr.shape[1]}×{hr.shape[0]} pixels, got "
                f"{box.left},{box.top},{box.width},{box.height}"
            )
        chosen.append(replace(detail, box=box))
        rows.append(
            [
                Panel(hr, (pair.name, f"{opened.name} x{opened.scale}"), box),
                *(
                    Panel(crop, (predictor.name, f"{psnr(crop, box.crop(hr), 0, channel):.2f} dB"))
                    for predictor, crop in zip(predictors, map(box.crop, outputs), strict=True)
                ),
                Panel(box.crop(hr), ("original", "PSNR")),
            ]
        )
    return Comparison(evaluations, tuple(chosen), grid(rows) if rows else None)


def _open_predictors(models: list[nn.Module | str | os.PathLike], scale: int | None, **options: Any) -> list[Predictor]:
    if not models:
        raise ValueError("models must not be empty")
    networks = [model for model in models if not is_interpolation(model)]
    opened = {id(model): open_predictor(model, scale, **options) for model in networks}
    scales = {predictor.scale for predictor in opened.values()} or {scale}
    if len(scales) > 1:
        each = ", ".join(f"{predictor.name} ×{predictor.scale}" for predictor in opened.values())
        raise ValueError(f"models must have one scale, got {each}")
    return [opened.get(id(model)) or open_predictor(model, *scales) for model in models]


def _find_pair(dataset: Dataset, detail: Detail) -> Pair:
    pair = next((pair for pair in dataset.pairs if pair.name == detail.image), None)
    if pair is None:
        names = ", ".join(pair.name for pair in dataset.pairs[:10])
        raise DatasetError(f"image {detail.image!r} not found in {dataset.name}, which has {names}")
    return pair


def _rank_by_spread(evaluations: tuple[Evaluation, ...]) -> list[str]:
    """Return image names by descending PSNR spread, then by ascending PSNR of the first model."""
    scores = [{score.name: min(score.psnr, 99.0) for score in evaluation.images} for evaluation in evaluations]
    names = [name for name in scores[0] if all(name in other for other in scores)]
    spreads = {name: max(s[name] for s in scores) - min(s[name] for s in scores) for name in names}
    return sorted(names, key=lambda name: (-spreads[name], scores[0][name]))


def _error_spread(outputs: list[np.ndarray], hr: np.ndarray) -> np.ndarray:
    """Return the spread of the models' squared errors on Y; for one model, the error."""
    errors = [(rgb_to_y(output) - rgb_to_y(hr)) ** 2 for output in outputs]
    return np.ptp(errors, axis=0) if errors[1:] else errors[0]


# Comparison with bicubic interpolation on one photograph


MIN_SIDE = 64
"""Minimum width and height of the photograph in pixels."""

_DETAIL = 160  # side of the detail shown, in pixels


@dataclass(frozen=True)
class Demo:
    """Comparison on one photograph.

    Attributes:
        psnr: PSNR on luma in dB, by method: ``"bicubic"`` and the model's name.
        ssim: SSIM on luma, by method.
        scale: Scale factor.
        picture: Detail with the highest local contrast: bicubic, model and original.
    """

    psnr: dict[str, float]
    ssim: dict[str, float]
    scale: int
    picture: Picture


def demo(photo: str | os.PathLike = "astronaut", model: nn.Module | str | os.PathLike = "lamnet_x4") -> Demo:
    """Downscale a photograph by the model's scale, upscale it and compare it with the original.

    Args:
        photo: Name of a sample photograph (``"astronaut"``, ``"chelsea"``, ``"coffee"``, ``"motorcycle"``) or an image
            file, read as 8-bit RGB.
        model: Network with 3 channels, name of a pretrained model, or checkpoint file.

    Returns:
        PSNR and SSIM of bicubic interpolation and of the model, by the protocol of papers, and a picture.

    Raises:
        ImageError: If the photograph cannot be read or is too small.
        ModelError: If the model's name is unknown or it has no weights.
        CheckpointError: If the checkpoint cannot be read.
    """
    network = resolve_model(model)
    scale = network.scale
    hr = read_photo(photo)
    height, width = (side // scale * scale for side in hr.shape[:2])
    if min(height, width) < MIN_SIDE:
        raise ImageError(f"{photo} must have at least {MIN_SIDE}×{MIN_SIDE} pixels, got {hr.shape[1]}×{hr.shape[0]}")
    hr = hr[:height, :width]
    lr = imresize(hr, 1 / scale)
    name = model if isinstance(model, str) else type(network).__name__
    sr = {"bicubic": imresize(lr, scale), Path(name).name: upscale(lr, network)}
    scores = {method: psnr(image, hr, border=scale) for method, image in sr.items()}
    box = best_box(local_contrast(hr), _DETAIL)
    panels = [Panel(box.crop(image), (f"{method}  {scores[method]:.2f} dB",)) for method, image in sr.items()]
    return Demo(
        psnr=scores,
        ssim={method: ssim(image, hr, border=scale) for method, image in sr.items()},
        scale=scale,
        picture=grid([[*panels, Panel(box.crop(hr), ("original",))]], side=2 * _DETAIL),
    )
