"""Training images: discovery, teacher targets, and a memory-mapped cache of decoded pixels."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from platformdirs import user_cache_path
from torch import Tensor

from ..data import Dataset, Pair, open_dataset
from ..data.layouts import ANY_NAME, find_matches, images_in, pair_images, sub_folders
from ..degradation import parse_degradations
from ..errors import DatasetError, ImageError, TrainingError
from ..filesystem import atomic_folder, file_digest
from ..image_io import read_rgb
from .recipe import Recipe


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
        raise TrainingError(
            f"holdout must be less than the number of images, {len(pairs)}, got {holdout}: set holdout="
            f"{min(1, len(pairs) - 1)}, or add images"
        )
    ranked = sorted(pairs, key=lambda pair: hashlib.sha256(os.fsencode(pair.name)).digest())
    held_out = set(ranked[:holdout])
    return (
        replace(full, pairs=tuple(pair for pair in pairs if pair not in held_out)),
        replace(full, name="held-out", pairs=tuple(sorted(held_out, key=lambda pair: pair.name)), problems=()),
    )


def validation_set(
    recipe: Recipe, scale: int, held_out: Dataset | None, data_dir: str | os.PathLike | None = None
) -> Dataset | None:
    """Return the images that a run is validated on, with the recipe's crop and degradations.

    Args:
        recipe: Settings of the run.
        scale: Upscaling factor.
        held_out: Held-out images, used if the recipe names no dataset.
        data_dir: Dataset root.

    Raises:
        DatasetError: If the recipe's dataset is not available.
    """
    dataset = held_out
    if recipe.valid is not None:
        dataset = open_dataset(recipe.valid, scale, data_dir, lr_border=recipe.lr_border)
    if dataset is None:
        return None
    return replace(dataset, crop=recipe.valid_crop, degradations=parse_degradations(recipe.valid_degrade))


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


# Teacher targets: outputs of another network on the training images, as PNG files


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


# Memory-mapped cache of decoded images


_VERSION = 1
_DECODERS = 4


@dataclass(frozen=True)
class Store:
    """HR and LR images as flat arrays of pixels.

    Attributes:
        scale: Upscaling factor.
        hr: HR pixels, row by row, images concatenated: (N, 3) uint8.
        lr: LR pixels in the same layout: (M, 3) uint8.
        sizes: Height and width of each LR image: (n, 2) int64; HR sizes are ``scale`` times as large.
        starts: Index of the first LR pixel of each image: (n,) int64; HR indices are ``scale²`` times as large.
        names: Image names.
        digest: Digest of the content.
        problems: Messages about skipped images.
        targets: Pixels of the teacher's outputs, in the layout of ``hr``; None without targets.
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
        """Total size of the pixels in bytes."""
        return sum(pixels.nbytes for pixels in (self.hr, self.lr, self.targets) if pixels is not None)

    def to(self, device: torch.device) -> Store:
        """Return the store with its pixels on a device."""
        targets = None if self.targets is None else self.targets.to(device)
        return replace(self, hr=self.hr.to(device), lr=self.lr.to(device), targets=targets)


def open_store(
    dataset: Dataset,
    patch: int,
    progress: Callable[[int, int], None] | None = None,
    targets: str | os.PathLike | None = None,
) -> Store:
    """Open the store of a dataset in the user cache, decoding its images on first use.

    Args:
        dataset: Training images.
        patch: Side of the patches in LR pixels; smaller images are skipped.
        progress: Called with the number of decoded images and the total.
        targets: Folder of teacher outputs; see [`find_targets`][lamnet_models.training.images.find_targets].

    Raises:
        TrainingError: If all images are skipped, or targets are missing or have the wrong size.
        OSError: If the store cannot be written.
    """
    digest = _digest(dataset)
    folder = user_cache_path("lamnet") / "store" / digest
    if not (folder / "index.json").is_file():
        with atomic_folder(folder) as temporary:
            _write_store(dataset, temporary, progress)
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    hr, lr = (_memory_map(folder / f"{part}.bin") for part in ("hr", "lr"))
    sizes = np.array(index["sizes"], dtype=np.int64)
    areas = sizes.prod(axis=1)
    usable = sizes.min(axis=1) >= patch
    minimum = patch * dataset.scale
    problems = index["problems"] + [
        f"{name}: size must be at least {minimum}×{minimum} (patch × scale), got {width}×{height}"
        for name, (height, width) in zip(index["names"], sizes * dataset.scale, strict=True)
        if min(height, width) < minimum
    ]
    if not usable.any():
        raise TrainingError(f"all images are unusable for training, such as {problems[0]}")
    names = tuple(name for name, keep in zip(index["names"], usable, strict=True) if keep)
    starts = np.cumsum(areas) - areas
    store = Store(dataset.scale, hr, lr, sizes[usable], starts[usable], names, digest, tuple(problems))
    return store if targets is None else _add_targets(store, find_targets(dataset, names, targets))


def _memory_map(path: Path) -> Tensor:
    return torch.from_numpy(np.memmap(path, np.uint8, mode="c")).view(-1, 3)


def _add_targets(store: Store, files: list[Path]) -> Store:
    """Return the store with its targets, decoding them on first use into a separate folder."""
    digest = hashlib.sha256(f"{_VERSION} targets {store.digest}".encode())
    for name, file in zip(store.names, files, strict=True):
        digest.update(os.fsencode(f"\n{name} {file_digest(file)}"))
    name = digest.hexdigest()[:32]
    folder = user_cache_path("lamnet") / "store" / name
    if not (folder / "targets.bin").is_file():
        sides = store.sizes * store.scale
        with atomic_folder(folder) as temporary, open(temporary / "targets.bin", "wb") as output:
            for first, pixels in zip(store.starts * store.scale**2 * 3, read_targets(files, sides), strict=True):
                output.seek(first)  # skipped images leave holes
                output.write(pixels)
            output.truncate(store.hr.nbytes)
            output.flush()
            os.fsync(output.fileno())
    return replace(store, targets=_memory_map(folder / "targets.bin"), digest=name)


def _digest(dataset: Dataset) -> str:
    rule = dataset.lr_border if dataset.synthesizes_lr else "as found"
    digest = hashlib.sha256(f"{_VERSION} {dataset.scale} {rule}".encode())
    for pair in dataset.pairs:
        for file in (pair.hr, pair.lr):
            digest.update(os.fsencode(f"\n{pair.name} {file and file_digest(file)}"))
    return digest.hexdigest()[:32]


def _write_store(dataset: Dataset, folder: Path, progress: Callable[[int, int], None] | None) -> None:
    index: dict[str, list] = {"names": [], "sizes": [], "problems": list(dataset.problems)}
    with open(folder / "hr.bin", "wb") as hr, open(folder / "lr.bin", "wb") as lr:
        for done, (pair, outcome) in enumerate(_decode_pairs(dataset), start=1):
            if isinstance(outcome, str):
                index["problems"].append(outcome)
            else:
                hr_pixels, lr_pixels = outcome
                hr.write(np.ascontiguousarray(hr_pixels))
                lr.write(np.ascontiguousarray(lr_pixels))
                index["names"].append(pair.name)
                index["sizes"].append(lr_pixels.shape[:2])
            if progress:
                progress(done, len(dataset.pairs))
        for file in (hr, lr):
            file.flush()
            os.fsync(file.fileno())
    if not index["names"]:
        raise TrainingError(f"all images are unusable for training, such as {index['problems'][0]}")
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _decode_pairs(dataset: Dataset) -> Iterator[tuple[Pair, tuple[np.ndarray, np.ndarray] | str]]:
    def read_or_error(pair: Pair) -> tuple[np.ndarray, np.ndarray] | str:
        try:
            return dataset.read(pair)
        except (DatasetError, ImageError) as error:
            return str(error)

    with ThreadPoolExecutor(_DECODERS) as pool:
        pending = []  # bounded, so that memory holds few images
        for pair in dataset.pairs:
            pending.append((pair, pool.submit(read_or_error, pair)))
            if len(pending) > 2 * _DECODERS:
                first, future = pending.pop(0)
                yield first, future.result()
        for pair, future in pending:
            yield pair, future.result()
