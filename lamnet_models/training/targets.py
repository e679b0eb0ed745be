"""Teacher targets: outputs of another network on the training images, as PNG files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..data import Dataset
from ..errors import ImageError, TrainingError
from ..image_io import read_rgb

_MAX_LISTED = 3


def find_targets(dataset: Dataset, names: Sequence[str], folder: str | os.PathLike) -> list[Path]:
    """Find the target of every training image.

    The target of an image has the image's path relative to its data folder, with the suffix ``.png``:
    ``photos/a/1.jpg`` under ``--data photos`` has the target ``FOLDER/a/1.png``. In a dataset layout it is the image's
    name: ``DIV2K_train_HR/0001.png`` has ``FOLDER/0001.png``.

    Args:
        dataset: The training images.
        names: Names of the images that require a target.
        folder: Folder of the targets.

    Returns:
        Target files in the order of ``names``.

    Raises:
        TrainingError: If the folder or a target is missing, or one file would be the target of two images.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise TrainingError(f"targets must be a folder, got {folder}")
    suffixes = {pair.name: pair.hr.suffix for pair in dataset.pairs}
    files = [folder / f"{name.removesuffix(suffixes[name])}.png" for name in names]
    owners: dict[Path, str] = {}
    for name, file in zip(names, files, strict=True):
        if file in owners:
            raise TrainingError(f"targets: {owners[file]} and {name} have the same target, {file}: rename one image")
        owners[file] = name
    if missing := [str(file.relative_to(folder)) for file in files if not file.is_file()]:
        raise TrainingError(f"targets: {len(missing)} of {len(files)} are missing in {folder}: {_summarize(missing)}")
    return files


def read_targets(files: Sequence[Path], sides: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the pixels of each target, (H, W, 3) uint8.

    Args:
        files: Target files.
        sides: Expected height and width of each target, (n, 2).

    Raises:
        TrainingError: If a target has the wrong size or cannot be read.
    """
    errors = []
    for file, (height, width) in zip(files, sides, strict=True):
        try:
            pixels = read_rgb(file)
        except ImageError as error:
            raise TrainingError(f"targets: {error}") from None
        if pixels.shape[:2] != (height, width):
            errors.append(f"{file.name} must be {width}×{height}, got {pixels.shape[1]}×{pixels.shape[0]}")
        if not errors:
            yield pixels
    if errors:
        raise TrainingError(f"targets: {len(errors)} of {len(files)} have the wrong size: {_summarize(errors)}")


def _summarize(texts: list[str]) -> str:
    return ", ".join(texts[:_MAX_LISTED]) + (", …" if len(texts) > _MAX_LISTED else "")
