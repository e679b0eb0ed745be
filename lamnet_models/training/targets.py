"""Teacher targets: outputs of another network on the training images, as a folder of PNG files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..datasets import Dataset
from ..errors import ImageError, TrainingError
from ..images import read_rgb

_MAX_LISTED = 3


def find_targets(dataset: Dataset, names: Sequence[str], folder: str | os.PathLike) -> list[Path]:
    """Finds the target of every training image.

    The target of an image has the image's path relative to its data folder, with the suffix ``.png``:
    ``photos/a/1.jpg`` under ``--data photos`` has the target ``FOLDER/a/1.png``. In a dataset layout it is the image's
    name: ``DIV2K_train_HR/0001.png`` has ``FOLDER/0001.png``.

    Args:
        dataset: The training images.
        names: Names of the images that need a target.
        folder: Folder of the targets.

    Returns:
        The files, in the order of ``names``.

    Raises:
        TrainingError: If the folder or a target is missing, or one file would be the target of two images.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise TrainingError(f"targets: {folder} is not a folder")
    suffixes = {pair.name: pair.hr.suffix for pair in dataset.pairs}
    files = [folder / f"{name.removesuffix(suffixes[name])}.png" for name in names]
    owners: dict[Path, str] = {}
    for name, file in zip(names, files, strict=True):
        if file in owners:
            raise TrainingError(f"targets: {file} would be the target of both {owners[file]} and {name}; rename one")
        owners[file] = name
    if missing := [str(file.relative_to(folder)) for file in files if not file.is_file()]:
        raise TrainingError(
            f"targets: {len(missing)} of {len(files)} images have no target in {folder}: {_first(missing)}"
        )
    return files


def read_targets(files: Sequence[Path], sides: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the pixels of each target, (H, W, 3) uint8.

    Args:
        files: The targets.
        sides: Height and width that each must have, (n, 2).

    Raises:
        TrainingError: If targets have another size, or one cannot be read.
    """
    wrong = []
    for file, (height, width) in zip(files, sides, strict=True):
        try:
            pixels = read_rgb(file)
        except ImageError as error:
            raise TrainingError(f"targets: {error}") from None
        if pixels.shape[:2] != (height, width):
            wrong.append(f"{file.name} has {pixels.shape[1]}×{pixels.shape[0]} pixels and needs {width}×{height}")
        if not wrong:
            yield pixels
    if wrong:
        raise TrainingError(f"targets: {len(wrong)} of {len(files)} have the wrong size: {_first(wrong)}")


def _first(texts: list[str]) -> str:
    return ", ".join(texts[:_MAX_LISTED]) + (", …" if len(texts) > _MAX_LISTED else "")
