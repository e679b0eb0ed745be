"""HR/LR image datasets: lookup and reading."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..degradation import Degradation, apply_degradations, parse_degradations
from ..errors import DatasetError
from ..image_io import read_rgb
from ..resize import imresize
from .archives import unpack_matching
from .catalog import SAMPLE, SAMPLES, KnownDataset, dataset_roots, known_dataset, sample_path, suggest_dataset
from .layouts import (
    ANY_NAME,
    DEPTH,
    LAYOUTS,
    Match,
    Pair,
    describe_folder,
    describe_layouts,
    find_matches,
    images_in,
    pair_images,
)


@dataclass(frozen=True)
class Dataset:
    """HR/LR image pairs at one scale.

    Attributes:
        name: Name of the dataset; canonical for known ones.
        scale: Scale factor between HR and LR.
        folder: Folder of the HR images.
        layout: Name of the folder layout.
        pairs: Image pairs.
        problems: One line per image without a partner.
        lr_border: Edge rule for synthesized LR images; see [`imresize`][lamnet_models.evaluation.imresize].
        crop: Side in HR pixels of the center crop that is read; 0 for whole images.
        degradations: Degradations of the LR images.
    """

    name: str
    scale: int
    folder: Path
    layout: str
    pairs: tuple[Pair, ...]
    problems: tuple[str, ...] = ()
    lr_border: str = "mirror"
    crop: int = 0
    degradations: tuple[Degradation, ...] = ()

    @property
    def synthesizes_lr(self) -> bool:
        """Whether LR images are synthesized because none were found."""
        return any(pair.lr is None for pair in self.pairs)

    @property
    def lr_source(self) -> str:
        """Description of the source of the LR images."""
        synthesized = f"LR made by imresize ({self.lr_border}, uint8)"
        source = synthesized if self.synthesizes_lr else f"LR from files ({self.layout} layout)"
        return ", ".join([source, *map(str, self.degradations)])

    def head(self, count: int | None) -> Dataset:
        """Return the dataset limited to its first ``count`` images; all if None."""
        return self if count is None else replace(self, pairs=self.pairs[:count], problems=())

    def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        """Read one HR/LR pair, synthesizing the LR image if it has no file.

        Args:
            pair: One of ``pairs``.

        Returns:
            HR image, cropped to a multiple of the scale, (s·H, s·W, 3), and LR image, (H, W, 3), uint8.

        Raises:
            ImageError: If a file cannot be read.
            DatasetError: If the sizes of HR and LR do not match, or HR is smaller than the scale.
        """
        hr, scale = read_rgb(pair.hr), self.scale
        height, width = (side // scale for side in hr.shape[:2])
        if 0 in (height, width):
            raise DatasetError(f"{pair.hr}: image must have at least {scale}×{scale} pixels, got {_size(hr)}")
        hr = hr[: height * scale, : width * scale]
        rows, columns = (_center(side, self.crop // scale or side) for side in (height, width))
        hr_crop = hr[rows.start * scale : rows.stop * scale, columns.start * scale : columns.stop * scale]
        if pair.lr is None:
            lr = imresize(hr_crop, 1 / scale, border=self.lr_border)
        else:
            lr = read_rgb(pair.lr)
            if lr.shape != (height, width, 3):
                raise DatasetError(
                    f"{pair.lr}: LR of {pair.hr.name} at ×{scale} must have {width}×{height} pixels, got {_size(lr)}"
                )
            lr = lr[rows, columns]
        return hr_crop, apply_degradations(lr, self.degradations, pair.name)


def open_dataset(
    dataset: str | os.PathLike | Dataset,
    scale: int,
    data_dir: str | os.PathLike | None = None,
    lr_border: str = "mirror",
    degrade: str = "",
) -> Dataset:
    """Open a dataset in any known folder layout.

    Args:
        dataset: Name of a known dataset in any spelling (``"set5"``, ``"B100"``, ``"Urban-100"``); a folder of images
            or of a dataset in any known layout; the name of such a folder in one of the dataset roots; or an open
            dataset, of which only the degradations can be replaced.
        scale: Scale factor between HR and LR, at least 1.
        data_dir: Dataset root. By default, the folders in ``LAMNET_DATA``, then the user's cache.
        lr_border: Edge rule for synthesized LR images: ``"mirror"`` or ``"replicate"``.
        degrade: Degradations of the LR images, such as ``"noise=10,jpeg=75"``; see
            [`parse_degradations`][lamnet_models.degradation.parse_degradations].

    Raises:
        ValueError: If ``degrade`` is invalid.
        DatasetError: If the dataset is not found; the message lists the expected and the existing folders.
    """
    degradations = parse_degradations(degrade)
    if isinstance(dataset, Dataset):
        if dataset.scale != scale:
            raise DatasetError(f"scale of dataset {dataset.name} must be {scale}, got {dataset.scale}")
        return replace(dataset, degradations=degradations) if degradations else dataset
    text = os.path.expanduser(os.fspath(dataset))
    known = None if isinstance(dataset, os.PathLike) or os.sep in text else known_dataset(text)
    if known is SAMPLE:
        pairs = tuple(Pair(name, sample_path(name), None) for name in SAMPLES)
        return Dataset(
            known.name,
            scale,
            pairs[0].hr.parent,
            "scikit-image",
            pairs,
            lr_border=lr_border,
            degradations=degradations,
        )
    is_folder = Path(text).is_dir()
    match = _find(known.pattern if known else re.escape(text), scale, data_dir) if known or not is_folder else None
    if match is None and is_folder:  # the folder may have the name of a known dataset
        match = _in_folder(Path(text), scale)
    if match is None:
        raise DatasetError(_not_found(known, text, scale, data_dir))
    folder_name = Path(text).resolve().name
    known = known or known_dataset(folder_name)
    name = known.name if known else folder_name
    pairs, problems = pair_images(match, scale)
    if not pairs:
        raise DatasetError(f"{match.hr}: no image has a partner; first problem: {problems[0]}")
    layout = match.layout.name
    return Dataset(name, scale, match.hr, layout, pairs, problems, lr_border, degradations=degradations)


def _find(pattern: str, scale: int, data_dir: str | os.PathLike | None) -> Match | None:
    """Return the match in the first dataset root that has one."""
    for root in dataset_roots(data_dir):
        matches = _search(root, pattern, scale)
        if not matches and re.fullmatch(pattern, root.resolve().name, re.IGNORECASE):  # the root is the dataset
            matches = find_matches(root.resolve().parent, re.escape(root.resolve().name), scale, depth=0)
        if matches:
            return matches[0]
    return None


def _not_found(known: KnownDataset | None, text: str, scale: int, data_dir: str | os.PathLike | None) -> str:
    if known:
        roots = "; ".join(f"{root} has {describe_folder(root)}" for root in dataset_roots(data_dir))
        layouts = describe_layouts(known.title, scale)
        return f"dataset {known.name} ×{scale} not found; {known.fetch_hint(data_dir)}; {roots}; searched for {layouts}"
    if os.sep in text or text in ("", ".", ".."):
        return f"{text or 'empty dataset name'}: no such folder"
    return f"no dataset or folder named {text!r}: {suggest_dataset(text)}"


def _search(home: Path, set_pattern: str, scale: int, depth: int = DEPTH) -> list[Match]:
    if matches := find_matches(home, set_pattern, scale, depth):
        return matches
    unpacked = unpack_matching(home, set_pattern, scale, depth)
    return find_matches(unpacked, set_pattern, scale, depth=0) if unpacked else []


def _in_folder(folder: Path, scale: int) -> Match:
    """Return the match of the folder itself, or of the one dataset inside it."""
    folder = folder.resolve()
    folder_matches = find_matches(folder.parent, re.escape(folder.name), scale, depth=0)
    if folder_matches and folder_matches[0].layout is not LAYOUTS[-1]:
        return folder_matches[0]
    if images_in(folder):
        if folder.name.casefold() == f"image_srf_{scale}":
            return find_matches(folder.parent.parent, re.escape(folder.parent.name), scale, depth=0)[0]
        return Match(LAYOUTS[-1], folder.name, folder, None)
    matches = _search(folder, ANY_NAME, scale, depth=1)
    matches = [match for match in matches if match.layout is not LAYOUTS[-1]] or matches
    if not matches:
        raise DatasetError(
            f"{folder}: no images and no dataset ×{scale} found; searched for {describe_layouts('NAME', scale)}; the "
            f"folder has {describe_folder(folder)}"
        )
    if len(matches) > 1:
        names = ", ".join(sorted({match.name for match in matches}))
        raise DatasetError(f"{folder} contains several datasets: {names}; pass one of these names and --data {folder}")
    return matches[0]


def _center(size: int, length: int) -> slice:
    start = max(size - length, 0) // 2
    return slice(start, start + min(size, length))


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}×{image.shape[0]}"
