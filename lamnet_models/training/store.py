"""Training images decoded once, into files that are mapped into memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from platformdirs import user_cache_path
from torch import Tensor

from ..datasets import Dataset, Pair
from ..datasets.archives import atomic_folder
from ..errors import DatasetError, ImageError, TrainingError
from ..files import file_digest
from .targets import find_targets, read_targets

_VERSION = 1
_DECODERS = 4


@dataclass(frozen=True)
class Store:
    """Images and their reductions, every pixel in one row.

    Attributes:
        scale: Factor between the two.
        hr: Pixels of the large images, row by row, one image after the other: (N, 3) uint8.
        lr: Pixels of the reductions: (M, 3) uint8.
        sizes: Height and width of each reduction: (n, 2) int64; the large images are scale times that.
        starts: Reduced pixels before each image: (n,) int64; of the large images, scale² times that.
        names: Names of the images.
        digest: What tells this content from any other.
        problems: A line for each image that was left out.
        targets: Pixels of the teacher's outputs, laid out as ``hr``; None without targets.
    """

    scale: int
    hr: Tensor
    lr: Tensor
    sizes: np.ndarray
    starts: np.ndarray
    names: tuple[str, ...]
    digest: str
    problems: tuple[str, ...]
    targets: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Size of all pixels in bytes."""
        return sum(pixels.nbytes for pixels in (self.hr, self.lr, self.targets) if pixels is not None)

    def to(self, device: torch.device) -> Store:
        """Returns the store with its pixels on a device."""
        targets = None if self.targets is None else self.targets.to(device)
        return replace(self, hr=self.hr.to(device), lr=self.lr.to(device), targets=targets)


def open_store(
    dataset: Dataset,
    patch: int,
    progress: Callable[[int, int], None] | None = None,
    targets: str | os.PathLike | None = None,
) -> Store:
    """Opens the store of a set in the user's cache; decodes the set first if its content has not been seen before.

    Args:
        dataset: The images.
        patch: Side of the patches to be cut, in pixels of the reductions; smaller images are left out.
        progress: Called with the images decoded and all of them.
        targets: Folder of teacher outputs; see [`find_targets`][lamnet_models.training.targets.find_targets].

    Raises:
        TrainingError: If no image can be used, or targets are missing or do not fit.
        OSError: If there is no room for the store.
    """
    digest = _digest(dataset)
    folder = user_cache_path("lamnet") / "store" / digest
    if not (folder / "index.json").is_file():
        with atomic_folder(folder) as temporary:
            _build(dataset, temporary, progress)
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    hr, lr = (_mapped(folder / f"{part}.bin") for part in ("hr", "lr"))
    sizes = np.array(index["sizes"], dtype=np.int64)
    areas = sizes.prod(axis=1)
    kept = sizes.min(axis=1) >= patch
    least = patch * dataset.scale
    problems = index["problems"] + [
        f"{name}: {width}×{height} pixels, but patches need {least}×{least}"
        for name, (height, width) in zip(index["names"], sizes * dataset.scale, strict=True)
        if min(height, width) < least
    ]
    if not kept.any():
        raise TrainingError(f"{dataset.folder}: no image can be trained on; the first: {problems[0]}")
    names = tuple(name for name, keep in zip(index["names"], kept, strict=True) if keep)
    starts = np.cumsum(areas) - areas
    store = Store(dataset.scale, hr, lr, sizes[kept], starts[kept], names, digest, tuple(problems))
    return store if targets is None else _with_targets(store, find_targets(dataset, names, targets))


def _mapped(path: Path) -> Tensor:
    return torch.from_numpy(np.memmap(path, np.uint8, mode="c")).view(-1, 3)


def _with_targets(store: Store, files: list[Path]) -> Store:
    """Returns the store with its targets, decoded into a folder of their own if their content is new."""
    digest = hashlib.sha256(f"{_VERSION} targets {store.digest}".encode())
    for name, file in zip(store.names, files, strict=True):
        digest.update(f"\n{name} {file_digest(file)}".encode())
    name = digest.hexdigest()[:32]
    folder = user_cache_path("lamnet") / "store" / name
    if not (folder / "targets.bin").is_file():
        sides = store.sizes * store.scale
        with atomic_folder(folder) as temporary, open(temporary / "targets.bin", "wb") as output:
            for first, pixels in zip(store.starts * store.scale**2 * 3, read_targets(files, sides), strict=True):
                output.seek(first)  # images without a target leave holes
                output.write(pixels)
            output.truncate(store.hr.nbytes)
            output.flush()
            os.fsync(output.fileno())
    return replace(store, targets=_mapped(folder / "targets.bin"), digest=name)


def _digest(dataset: Dataset) -> str:
    rule = dataset.lr_border if dataset.synthesizes_lr else "as found"
    digest = hashlib.sha256(f"{_VERSION} {dataset.scale} {rule}".encode())
    for pair in dataset.pairs:
        for file in (pair.hr, pair.lr):
            digest.update(f"\n{pair.name} {file and file_digest(file)}".encode())
    return digest.hexdigest()[:32]


def _build(dataset: Dataset, folder: Path, progress: Callable[[int, int], None] | None) -> None:
    index: dict[str, list] = {"names": [], "sizes": [], "problems": list(dataset.problems)}
    with open(folder / "hr.bin", "wb") as hr, open(folder / "lr.bin", "wb") as lr:
        for done, (pair, outcome) in enumerate(_decoded(dataset), start=1):
            if isinstance(outcome, str):
                index["problems"].append(outcome)
            else:
                large, small = outcome
                hr.write(np.ascontiguousarray(large))
                lr.write(np.ascontiguousarray(small))
                index["names"].append(pair.name)
                index["sizes"].append(small.shape[:2])
            if progress:
                progress(done, len(dataset.pairs))
        for file in (hr, lr):
            file.flush()
            os.fsync(file.fileno())
    if not index["names"]:
        raise TrainingError(f"{dataset.folder}: no image can be trained on; the first: {index['problems'][0]}")
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _decoded(dataset: Dataset) -> Iterator[tuple[Pair, tuple[np.ndarray, np.ndarray] | str]]:
    def read(pair: Pair) -> tuple[np.ndarray, np.ndarray] | str:
        try:
            return dataset.read(pair)
        except (DatasetError, ImageError) as error:
            return str(error)

    with ThreadPoolExecutor(_DECODERS) as pool:
        waiting = []  # a few ahead, so that memory holds a few images
        for pair in dataset.pairs:
            waiting.append((pair, pool.submit(read, pair)))
            if len(waiting) > 2 * _DECODERS:
                done, future = waiting.pop(0)
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()
