"""Training and holdout images of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ..data import Dataset, Pair, open_dataset
from ..data.layouts import ANY_NAME, find_matches, images_in, pair_images, sub_folders
from ..errors import TrainingError


def training_data(
    sources: Iterable[str], scale: int, lr_border: str = "mirror", holdout: int = 0
) -> tuple[Dataset, Dataset | None]:
    """Find the training images.

    Args:
        sources: Folders of images, searched recursively; folders with a dataset in a known layout such as DIV2K's,
            with its LR images; dataset names.
        scale: Upscaling factor.
        lr_border: Edge rule for LR images that are synthesized.
        holdout: Number of images to hold out, selected by a hash of their names.

    Returns:
        The training images, and the held-out images or None if ``holdout`` is 0.

    Raises:
        TrainingError: If no images are found, or not more than ``holdout``.
        DatasetError: If a source is neither a folder nor the name of an available dataset.
    """
    pairs, problems, layouts = [], [], set()
    for source in sources:
        dataset = _open(source, scale, lr_border)
        pairs += dataset.pairs
        problems += dataset.problems
        layouts.add(dataset.layout)
    if not pairs:
        raise TrainingError("data contains no images: set it to folders of images, with --data")
    full = Dataset(
        "training", scale, pairs[0].hr.parent, ", ".join(sorted(layouts)), tuple(pairs), tuple(problems), lr_border
    )
    if holdout == 0:
        return full, None
    if holdout >= len(pairs):
        raise TrainingError(f"holdout must be less than the number of images, {len(pairs)}, got {holdout}")
    ranked = sorted(pairs, key=lambda pair: hashlib.sha256(pair.name.encode()).digest())
    held_out = set(ranked[:holdout])
    return (
        replace(full, pairs=tuple(pair for pair in pairs if pair not in held_out)),
        replace(full, name="kept-out", pairs=tuple(sorted(held_out, key=lambda pair: pair.name)), problems=()),
    )


def center_crop(dataset: Dataset, crop: int) -> Dataset:
    """Return the dataset with images center-cropped to ``crop`` × ``crop``; 0 for no crop."""
    return replace(dataset, crop=crop)


def _open(source: str, scale: int, lr_border: str) -> Dataset:
    folder = Path(source).expanduser()
    if not folder.is_dir():
        return open_dataset(source, scale, lr_border=lr_border)
    matches = [match for match in find_matches(folder, ANY_NAME, scale, depth=1) if match.layout.lr]
    training = [match for match in matches if "train" in match.name.lower()]
    if match := next(iter(training or matches), None):
        pairs, problems = pair_images(match, scale)
        return Dataset(match.name, scale, match.hr, match.layout.name, pairs, problems, lr_border)
    pairs = tuple(Pair(str(file.relative_to(folder)), file, None) for file in _images_below(folder))
    return Dataset(folder.name, scale, folder, "folder", pairs, lr_border=lr_border)


def _images_below(folder: Path) -> list[Path]:
    files = list(images_in(folder))
    for child in sub_folders(folder):
        if not child.is_symlink():  # links may form cycles
            files += _images_below(child)
    return files
