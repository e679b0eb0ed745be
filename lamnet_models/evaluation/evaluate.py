"""Evaluation of a model on a dataset, and its output images."""

from __future__ import annotations

import hashlib
import heapq
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..data import Dataset, Pair, open_dataset
from ..errors import DatasetError, ImageError
from ..image_io import Picture, write_image
from ..image_io.grids import Panel, best_box, grid
from ..inference.planner import TilePlan
from ..inference.upscaler import UpscaleOutput
from ..resize import imresize
from .metrics import Protocol, psnr, resolve_protocol, rgb_to_y, ssim
from .predictors import Predictor, open_predictor
from .results import Evaluation, ImageScore, mean, versions

_PREFETCH = 2
"""Number of images decoded ahead of the network, and of images with metrics pending behind it."""


@dataclass(frozen=True)
class ImageResult:
    """Result on one image.

    Attributes:
        model: Name of the model.
        score: Metrics.
        done: Images processed so far, including skipped ones.
        total: Images in the dataset.
        sr: SR image, (s·H, s·W, 3) uint8.
        hr: HR image, (s·H, s·W, 3) uint8.
        lr: LR image, (H, W, 3) uint8.
    """

    model: str
    score: ImageScore
    done: int
    total: int
    sr: np.ndarray
    hr: np.ndarray
    lr: np.ndarray


def evaluate(
    model: nn.Module | str | os.PathLike | Predictor | None = None,
    dataset: str | os.PathLike | Dataset = "set5",
    scale: int | None = None,
    data_dir: str | os.PathLike | None = None,
    limit: int | None = None,
    border: int | None = None,
    *,
    protocol: str = "standard",
    channel: str | None = None,
    lr_border: str = "mirror",
    degrade: str = "",
    tile: int | str | None = None,
    device: torch.device | str | None = None,
    precision: str | None = None,
    self_ensemble: bool | None = None,
    on_image: Callable[[ImageResult], None] | None = None,
) -> Evaluation:
    """Evaluate a model on a dataset with the protocol used in papers.

    HR is cropped to a multiple of the scale, LR read from files or synthesized; the network's output is clamped,
    rounded to uint8, and compared without its border. Metrics are averaged over images.

    Args:
        model: ``"bicubic"`` or ``"lanczos"``; a model name; a checkpoint file in our format, the original format or any
            that spandrel reads (extra ``peers``); any network on (B, 3, H, W) in [0, 1]; None for the model of
            ``scale``, or ``"lamnet_x4"``. Or a predictor from ``open_predictor``, which excludes ``scale``, ``tile``,
            ``device``, ``precision`` and ``self_ensemble``.
        dataset: Name in any spelling, or a folder; see [`open_dataset`][lamnet_models.data.open_dataset].
        scale: Scale factor; by default the network's own, 4 for interpolation.
        data_dir: Dataset root.
        limit: Number of images to evaluate, from the first; None for all.
        border: Pixels cropped at each edge, instead of the protocol's.
        protocol: ``"standard"``: border = scale; ``"lamnet"``: border = 4 at every scale, as in LAMNet's original
            configurations.
        channel: ``"y"``, the protocols' default: luma; ``"rgb"``: all channels.
        lr_border: Edge rule for synthesized LR images: ``"mirror"`` or ``"replicate"``.
        degrade: Degradations of the LR images, such as ``"noise=10,jpeg=75"``; see
            [`parse_degradations`][lamnet_models.degradation.parse_degradations].
        tile: Tile side in pixels, see [`Upscaler`][lamnet_models.Upscaler]; None: 0, the whole image.
        device: Device to compute on; None: ``"auto"``.
        precision: Precision of the computation; None: ``"fp32"``.
        self_ensemble: Whether to average over eight flips and rotations; None: False.
        on_image: Called with the result of each image, in the dataset's order.

    Returns:
        Mean metrics, metrics per image, and the settings needed to repeat the evaluation.

    Raises:
        ValueError: If an argument is out of range or excluded by a predictor, or the network has another scale.
        DatasetError: If the dataset is not found, or none of its images can be evaluated.
        LAMNetError: If the model is not found, or memory is too small.
    """
    rules = resolve_protocol(protocol, border, channel)
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ValueError(f"limit must be an integer of at least 1, got {limit!r}")
    options = {"scale": scale, "tile": tile, "device": device, "precision": precision, "self_ensemble": self_ensemble}
    options = {name: value for name, value in options.items() if value is not None}
    if isinstance(model, Predictor):
        for name, value in options.items():
            raise ValueError(f"{name} must be None with a predictor, got {value!r}; pass it to open_predictor")
    predictor = model if isinstance(model, Predictor) else open_predictor(model, **options)
    opened = open_dataset(dataset, predictor.scale, data_dir, lr_border, degrade).head(limit)
    begin = time.perf_counter()
    scores: list[ImageScore] = []
    plans: list[TilePlan] = []
    skipped = list(opened.problems)
    digest = hashlib.sha256()
    total = len(opened.pairs)
    for done, outcome in enumerate(_predict_images(predictor, opened, rules), start=1):
        if isinstance(outcome, str):
            skipped.append(outcome)
            continue
        score, output, hr, lr = outcome
        scores.append(score)
        plans.append(output.plan)
        precision = output.precision
        for image in (hr, lr):
            digest.update(os.fsencode(f"{score.name} {image.shape}\n"))
            digest.update(np.ascontiguousarray(image))
        if on_image:
            on_image(ImageResult(predictor.name, score, done, total, output.image, hr, lr))
    if not scores:
        raise DatasetError(f"no image of {opened.name} could be evaluated; first problem: {skipped[0]}")
    return Evaluation(
        model=predictor.name,
        variant=predictor.variant,
        dataset=opened.name,
        scale=predictor.scale,
        psnr=mean(score.psnr for score in scores),
        ssim=mean(score.ssim for score in scores),
        images=tuple(scores),
        skipped=tuple(skipped),
        protocol=rules.name,
        border=rules.border_at(predictor.scale),
        channel=rules.channel,
        measured=rules.describe(predictor.scale),
        lr=opened.lr_source,
        degradations=",".join(map(str, opened.degradations)),
        dataset_sha256=digest.hexdigest(),
        weights=predictor.weights,
        weights_sha256=predictor.weights_sha256,
        device=predictor.device,
        precision=precision,
        tile=TilePlan.smallest(plans).tile_option,
        versions=versions(),
        seconds=time.perf_counter() - begin,
        forward_seconds=sum(score.seconds for score in scores),
    )


_Outcome = tuple[ImageScore, UpscaleOutput[np.ndarray], np.ndarray, np.ndarray]


def _predict_images(predictor: Predictor, dataset: Dataset, rules: Protocol) -> Iterator[_Outcome | str]:
    """Yield for each image its score and images, or the reason why it was skipped; in order.

    Decoding and metrics run in threads, ahead of and behind the network.
    """
    with ThreadPoolExecutor(2) as pool:
        ahead: deque[tuple[Pair, Future]] = deque()
        behind: deque[Future | str] = deque()
        remaining = iter(dataset.pairs)
        try:
            while True:
                while len(ahead) < _PREFETCH and (pair := next(remaining, None)):
                    ahead.append((pair, pool.submit(dataset.read, pair)))
                if not ahead:
                    break
                pair, reading = ahead.popleft()
                try:
                    hr, lr = reading.result()
                except (DatasetError, ImageError) as error:
                    behind.append(str(error))
                else:
                    begin = time.perf_counter()
                    output = predictor.run(lr)
                    seconds = time.perf_counter() - begin
                    behind.append(pool.submit(_measure, pair, output, hr, lr, rules, dataset.scale, seconds))
                while len(behind) > _PREFETCH:
                    yield _result(behind.popleft())
            while behind:
                yield _result(behind.popleft())
        finally:
            for _, reading in ahead:
                reading.cancel()


def _result(item: Future | str) -> _Outcome | str:
    return item if isinstance(item, str) else item.result()


def _measure(
    pair: Pair,
    output: UpscaleOutput[np.ndarray],
    hr: np.ndarray,
    lr: np.ndarray,
    rules: Protocol,
    scale: int,
    seconds: float,
) -> _Outcome | str:
    border = rules.border_at(scale)
    try:
        score = ImageScore(
            pair.name,
            psnr(output.image, hr, border, rules.channel),
            ssim(output.image, hr, border, rules.channel),
            (hr.shape[1], hr.shape[0]),
            seconds,
        )
    except ValueError as error:
        return f"{pair.hr}: {error}"
    return score, output, hr, lr


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
        write_image(self._folder / f"{result.score.name}.png", Picture(result.sr))
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
