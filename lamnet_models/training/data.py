"""The images of a run: those to train on, and those kept out of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ..datasets import Dataset, Pair, open_dataset
from ..datasets.folders import images_in, sub_folders
from ..datasets.layouts import ANY_NAME, find_matches
from ..datasets.pairs import pair_images
from ..errors import TrainingError


def training_data(
    sources: Iterable[str], scale: int, lr_border: str = "mirror", holdout: int = 0
) -> tuple[Dataset, Dataset | None]:
    """Finds the images to train on.

    Args:
        sources: Folders with images, anywhere below; folders with a set in a known layout, such as DIV2K's, whose
            reductions are then taken from there; names of sets.
        scale: Factor between the images and their reductions.
        lr_border: Edge rule of reductions that have to be made.
        holdout: How many images to keep out. Which ones depends on the images' names alone.

    Returns:
        The images to train on and those kept out, None if ``holdout`` is 0.

    Raises:
        TrainingError: If there are none, or too few to keep some out.
        DatasetError: If a source is neither a folder nor the name of a set that is there.
    """
    pairs, problems, layouts = [], [], set()
    for source in sources:
        found = _open(source, scale, lr_border)
        pairs += found.pairs
        problems += found.problems
        layouts.add(found.layout)
    if not pairs:
        raise TrainingError("there are no images to train on: name folders of them with --data")
    whole = Dataset(
        "training", scale, pairs[0].hr.parent, ", ".join(sorted(layouts)), tuple(pairs), tuple(problems), lr_border
    )
    if holdout == 0:
        return whole, None
    if holdout >= len(pairs):
        raise TrainingError(f"holdout is {holdout}, but there are {len(pairs)} images in all")
    ranked = sorted(pairs, key=lambda pair: hashlib.sha256(pair.name.encode()).digest())
    kept_out = set(ranked[:holdout])
    return (
        replace(whole, pairs=tuple(pair for pair in pairs if pair not in kept_out)),
        replace(whole, name="kept-out", pairs=tuple(sorted(kept_out, key=lambda pair: pair.name)), problems=()),
    )


def validation_part(dataset: Dataset, crop: int) -> Dataset:
    """Returns a set of which only the centre of each image is read, ``crop`` pixels a side; all of it if that is 0."""
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
        if not child.is_symlink():  # which might lead round in a circle
            files += _images_below(child)
    return files
