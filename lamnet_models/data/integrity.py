"""Integrity of datasets: manifests of downloads, and checks of images."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import DatasetError, ImageError
from ..files import file_digest
from .catalog import known_dataset
from .dataset import open_dataset

_MANIFEST = ".lamnet-manifest.json"


def write_manifest(folder: Path, sources: list[dict]) -> None:
    """Write the sources and SHA-256 digests of a folder's files.

    Args:
        folder: The folder.
        sources: Description of each downloaded file.
    """
    files = {str(file.relative_to(folder)): file_digest(file) for file in sorted(folder.rglob("*")) if file.is_file()}
    content = {"sources": sources, "sha256": files}
    (folder / _MANIFEST).write_text(json.dumps(content, indent=1), encoding="utf-8")


def check_manifest(folder: Path) -> list[str] | None:
    """Return one line per file that differs from its download, or None without a manifest.

    Args:
        folder: The folder of the manifest, or one below it.
    """
    for root in (folder, *folder.parents):
        if (root / _MANIFEST).is_file():
            break
    else:
        return None
    try:
        digests = json.loads((root / _MANIFEST).read_text(encoding="utf-8"))["sha256"]
        expected = {root / name: digest for name, digest in digests.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"{root / _MANIFEST}: damaged"]
    missing = [f"{file}: missing" for file in expected if not file.is_file()]
    return missing + [
        f"{file}: changed since the download"
        for file, digest in expected.items()
        if file.is_file() and file_digest(file) != digest
    ]


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
        dataset: See [`open_dataset`][lamnet_models.data.open_dataset].
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
