"""Whether a set of images is whole."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import DatasetError, ImageError
from .catalogue import known_dataset
from .dataset import open_dataset
from .manifest import check_manifest


@dataclass(frozen=True)
class Verification:
    """What was found about a set.

    Attributes:
        name: The set.
        folder: Where its large images lie.
        images: Number of images.
        scales: The factors at which it has reductions.
        digests: Whether the files were compared with what had been written down when they were downloaded.
        problems: A line for each thing that is wrong.
    """

    name: str
    folder: Path
    images: int
    scales: tuple[int, ...]
    digests: bool
    problems: tuple[str, ...]


def verify(dataset: str | os.PathLike, data_dir: str | os.PathLike | None = None) -> Verification:
    """Reads every image of a set at ×2, ×3 and ×4, and compares numbers, sizes and, where they are known, digests.

    Args:
        dataset: See [`open_dataset`][lamnet_models.datasets.open_dataset].
        data_dir: Where to look for it.

    Raises:
        DatasetError: If there is no such set.
    """
    problems: dict[str, None] = {}  # a set, in order
    found, failures = [], []
    for scale in (2, 3, 4):
        try:
            found.append(open_dataset(dataset, scale, data_dir))
        except DatasetError as error:
            failures.append(error)
    if not found:
        raise failures[0]
    own = [opened for opened in found if not opened.synthesizes_lr]
    for opened in own or found[:1]:
        problems.update(dict.fromkeys(opened.problems))
        for pair in opened.pairs:
            try:
                opened.read(pair)
            except (DatasetError, ImageError) as error:
                problems[str(error)] = None
    known, first = known_dataset(found[0].name), found[0]
    if known and len(first.pairs) != known.count:
        problems[f"{first.folder}: {len(first.pairs)} images can be used, but {known.title} has {known.count}"] = None
    changed = check_manifest(first.folder)
    problems.update(dict.fromkeys(changed or []))
    return Verification(
        first.name, first.folder, len(first.pairs), tuple(d.scale for d in own), changed is not None, tuple(problems)
    )
