"""Dataset integrity check."""

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
    """Result of a dataset integrity check.

    Attributes:
        name: Name of the dataset.
        folder: Folder of the HR images.
        images: Number of images.
        scales: Scales with LR images.
        digests: Whether the files were compared with the digests of the download.
        problems: One line per problem.
    """

    name: str
    folder: Path
    images: int
    scales: tuple[int, ...]
    digests: bool
    problems: tuple[str, ...]


def verify(dataset: str | os.PathLike, data_dir: str | os.PathLike | None = None) -> Verification:
    """Read every image at ×2, ×3 and ×4; check counts, sizes and, if known, digests.

    Args:
        dataset: See [`open_dataset`][lamnet_models.datasets.open_dataset].
        data_dir: Dataset root.

    Raises:
        DatasetError: If the dataset is not found.
    """
    problems: dict[str, None] = {}  # an ordered set
    opened, failures = [], []
    for scale in (2, 3, 4):
        try:
            opened.append(open_dataset(dataset, scale, data_dir))
        except DatasetError as error:
            failures.append(error)
    if not opened:
        raise failures[0]
    with_lr = [version for version in opened if not version.synthesizes_lr]
    for version in with_lr or opened[:1]:
        problems.update(dict.fromkeys(version.problems))
        for pair in version.pairs:
            try:
                version.read(pair)
            except (DatasetError, ImageError) as error:
                problems[str(error)] = None
    known, first = known_dataset(opened[0].name), opened[0]
    if known and len(first.pairs) != known.count:
        problems[f"{first.folder}: {known.title} must have {known.count} images, got {len(first.pairs)}"] = None
    changed = check_manifest(first.folder)
    problems.update(dict.fromkeys(changed or []))
    return Verification(
        first.name,
        first.folder,
        len(first.pairs),
        tuple(version.scale for version in with_lr),
        changed is not None,
        tuple(problems),
    )
