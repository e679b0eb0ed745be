"""Measuring a network on a set of images."""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..datasets import Dataset, Pair, open_dataset
from ..errors import DatasetError, ImageError
from .methods import Predictor, open_predictor
from .metrics import psnr, ssim
from .protocol import Protocol, resolve_protocol
from .result import Evaluation, ImageScore, mean, versions

_PREFETCH = 2
"""Images decoded before the network asks for them, and images whose metrics may be under way behind it."""


@dataclass(frozen=True)
class ImageResult:
    """One image, measured.

    Attributes:
        score: Its figures.
        done: Images done so far, those left out included.
        total: Images of the set.
        sr: What the network made, (s·H, s·W, 3) uint8.
        hr: The large image.
        lr: What the network was given, (H, W, 3) uint8.
    """

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
    tile: int | str = 0,
    device: torch.device | str = "auto",
    precision: str = "fp32",
    self_ensemble: bool = False,
    on_image: Callable[[ImageResult], None] | None = None,
) -> Evaluation:
    """Measures a network on a set of images, the way papers do.

    The images are cropped to a multiple of the scale and downscaled, or their published reductions taken; the network's
    output is clamped, rounded to 8 bits, and compared without its border. Means are over images.

    Args:
        model: ``"bicubic"``; a model's name; the file of a checkpoint, ours, a released one or any that spandrel reads
            (extra ``peers``); any network on (B, 3, H, W) in [0, 1]; None for the model of ``scale``, or
            ``"lamnet_x4"``.
        dataset: Name of a set in any spelling, or a folder; see [`open_dataset`][lamnet_models.datasets.open_dataset].
        scale: Factor of enlargement: the network's own where it has one. Bicubic interpolation takes 4 if None.
        data_dir: Where to look for the set.
        limit: Measure only so many images, the first ones.
        border: Pixels left out at each edge, instead of the protocol's.
        protocol: ``"standard"``: as many pixels of border as the scale; ``"lamnet"``: 4 at each scale, as LAMNet's
            released configurations have it.
        channel: ``"y"``, the protocols' own: on the luma; ``"rgb"``: over all channels.
        lr_border: Edge rule of reductions made here: ``"mirror"`` or ``"replicate"``.
        tile: Side of the tiles to run the network in; 0: the whole image; see [`Upscaler`][lamnet_models.Upscaler].
        device: Where to compute.
        precision: Type to compute in.
        self_ensemble: Whether to average over eight flips and rotations.
        on_image: Called for each image, in the set's order.

    Returns:
        The means, every image's figures, and what is needed to measure again.

    Raises:
        ValueError: If an argument is out of its range, or the network has another scale.
        DatasetError: If there is no such set, or none of its images can be measured.
        LAMNetError: If there is no such model, or not enough memory.
    """
    rules = resolve_protocol(protocol, border, channel)
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ValueError(f"limit is {limit!r}, but it must be an integer of at least 1")
    method = model
    if not isinstance(method, Predictor):
        method = open_predictor(
            model, scale, tile=tile, device=device, precision=precision, self_ensemble=self_ensemble
        )
    found = open_dataset(dataset, method.scale, data_dir, lr_border).head(limit)
    begin = time.perf_counter()
    scores: list[ImageScore] = []
    skipped = list(found.problems)
    digest = hashlib.sha256()
    total = len(found.pairs)
    for done, outcome in enumerate(_predict_images(method, found, rules), start=1):
        if isinstance(outcome, str):
            skipped.append(outcome)
            continue
        score, sr, hr, lr = outcome
        scores.append(score)
        for image in (hr, lr):
            digest.update(f"{score.name} {image.shape}\n".encode())
            digest.update(np.ascontiguousarray(image))
        if on_image:
            on_image(ImageResult(score, done, total, sr, hr, lr))
    if not scores:
        raise DatasetError(f"none of the images of {found.name} could be measured; the first: {skipped[0]}")
    return Evaluation(
        model=method.name,
        variant=method.variant,
        dataset=found.name,
        scale=method.scale,
        psnr=mean(score.psnr for score in scores),
        ssim=mean(score.ssim for score in scores),
        images=tuple(scores),
        skipped=tuple(skipped),
        protocol=rules.name,
        border=rules.border_at(method.scale),
        channel=rules.channel,
        measured=rules.describe(method.scale),
        lr=found.lr_source,
        dataset_sha256=digest.hexdigest(),
        weights=method.weights,
        weights_sha256=method.weights_sha256,
        device=method.device,
        precision=precision,
        tile=tile,
        versions=versions(),
        seconds=time.perf_counter() - begin,
        forward_seconds=sum(score.seconds for score in scores),
    )


_Outcome = tuple[ImageScore, np.ndarray, np.ndarray, np.ndarray]


def _predict_images(method: Predictor, dataset: Dataset, rules: Protocol) -> Iterator[_Outcome | str]:
    """Yields for each image its figures and pictures, or a line that says why it was left out; in order.

    Decoding runs ahead of the network and the metrics behind it, in threads of their own.
    """
    with ThreadPoolExecutor(2) as pool:
        ahead: deque[tuple[Pair, Future]] = deque()
        behind: deque[Future | str] = deque()
        waiting = iter(dataset.pairs)
        try:
            while True:
                while len(ahead) < _PREFETCH and (pair := next(waiting, None)):
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
                    sr = method.upscale(lr)
                    seconds = time.perf_counter() - begin
                    behind.append(pool.submit(_measure, pair, sr, hr, lr, rules, dataset.scale, seconds))
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
    sr: np.ndarray,
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
            psnr(sr, hr, border, rules.channel),
            ssim(sr, hr, border, rules.channel),
            (hr.shape[1], hr.shape[0]),
            seconds,
        )
    except ValueError as error:
        return f"{pair.hr}: {error}"
    return score, sr, hr, lr
