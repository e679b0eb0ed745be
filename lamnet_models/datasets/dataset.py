"""A set of images, found and ready to be read."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import DatasetError
from ..images import read_rgb
from ..resize import imresize
from .archives import unpack_matching
from .catalogue import SAMPLE, KnownDataset, known_dataset, suggest_dataset
from .folders import describe_folder, images_in
from .layouts import ANY_NAME, DEPTH, LAYOUTS, Match, describe_layouts, find_matches
from .pairs import Pair, pair_images
from .places import dataset_roots
from .samples import sample_pairs


@dataclass(frozen=True)
class Dataset:
    """A set of images for one scale.

    Attributes:
        name: Its name: ours if it is a known one.
        scale: Factor between the large images (HR) and their reductions (LR).
        folder: Where the large images lie.
        layout: Whose layout it has.
        pairs: Its images.
        problems: A line for each image that has no partner.
        lr_border: Edge rule of the reductions made here; see [`imresize`][lamnet_models.evaluation.imresize].
        crop: Side in pixels of the part at the centre of each large image that is read; 0 for the whole.
    """

    name: str
    scale: int
    folder: Path
    layout: str
    pairs: tuple[Pair, ...]
    problems: tuple[str, ...] = ()
    lr_border: str = "mirror"
    crop: int = 0

    @property
    def synthesizes_lr(self) -> bool:
        """Whether the reductions are made here, for want of files."""
        return any(pair.lr is None for pair in self.pairs)

    @property
    def lr_source(self) -> str:
        """Where the reductions come from, in words."""
        made = f"LR made by imresize ({self.lr_border}, uint8)"
        return made if self.synthesizes_lr else f"LR as found ({self.layout}'s layout)"

    def head(self, count: int | None) -> Dataset:
        """Returns the set with no more than so many images; all of them if that is None."""
        return self if count is None else replace(self, pairs=self.pairs[:count], problems=())

    def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        """Reads one image and its reduction, or makes that.

        Args:
            pair: One of ``pairs``.

        Returns:
            The large image, cropped to a multiple of the scale, (s·H, s·W, 3), and its reduction, (H, W, 3), uint8.

        Raises:
            ImageError: If a file cannot be read.
            DatasetError: If the sizes do not fit each other.
        """
        large, scale = read_rgb(pair.hr), self.scale
        height, width = (side // scale for side in large.shape[:2])
        if 0 in (height, width):
            raise DatasetError(f"{pair.hr}: {_size(large)} pixels are too few for ×{scale}")
        large = large[: height * scale, : width * scale]
        rows, columns = (_center(side, self.crop // scale or side) for side in (height, width))
        part = large[rows.start * scale : rows.stop * scale, columns.start * scale : columns.stop * scale]
        if pair.lr is None:
            return part, imresize(part, 1 / scale, border=self.lr_border)
        small = read_rgb(pair.lr)
        if small.shape != (height, width, 3):
            raise DatasetError(
                f"{pair.lr}: has {_size(small)} pixels, but at ×{scale} {pair.hr.name} asks for {width}×{height}"
            )
        return part, small[rows, columns]


def open_dataset(
    dataset: str | os.PathLike | Dataset,
    scale: int,
    data_dir: str | os.PathLike | None = None,
    lr_border: str = "mirror",
) -> Dataset:
    """Finds a set of images, however it is laid out.

    Args:
        dataset: Name of a known set in any spelling (``"set5"``, ``"B100"``, ``"Urban-100"``); a folder: of images, or
            of a set in any known layout; the name of such a folder in one of the places where sets are looked for.
        scale: Factor between the large images and their reductions, at least 1.
        data_dir: Where to look for it. By default, the folders in ``LAMNET_DATA``, then the user's cache.
        lr_border: Edge rule for reductions that have to be made: ``"mirror"`` or ``"replicate"``.

    Raises:
        DatasetError: If there is no such set; the message says what was looked for, and what is there instead.
    """
    if isinstance(dataset, Dataset):
        if dataset.scale != scale:
            raise DatasetError(f"{dataset.name} was opened for ×{dataset.scale}, but ×{scale} is asked for")
        return dataset
    text = os.fspath(dataset)
    known = None if isinstance(dataset, os.PathLike) or os.sep in text else known_dataset(text)
    if known is SAMPLE:
        pairs = sample_pairs()
        return Dataset(known.name, scale, pairs[0].hr.parent, "scikit-image", pairs, lr_border=lr_border)
    is_folder = Path(text).is_dir()
    match = _find(known.pattern if known else re.escape(text), scale, data_dir) if known or not is_folder else None
    if match is None and is_folder:  # which may have a known set's name
        match = _in_folder(Path(text), scale)
    if match is None:
        raise DatasetError(_not_found(known, text, scale, data_dir))
    folder_name = Path(text).resolve().name
    named = known or known_dataset(folder_name)
    name = named.name if named else folder_name
    pairs, problems = pair_images(match, scale)
    if not pairs:
        raise DatasetError(f"{match.hr}: none of its images has a partner; the first: {problems[0]}")
    return Dataset(name, scale, match.hr, match.layout.name, pairs, problems, lr_border)


def _find(pattern: str, scale: int, data_dir: str | os.PathLike | None) -> Match | None:
    """Returns the set of a name in the first place that has it."""
    for root in dataset_roots(data_dir):
        matches = _search(root, pattern, scale)
        if not matches and re.fullmatch(pattern, root.resolve().name, re.IGNORECASE):  # the set itself will do too
            matches = find_matches(root.resolve().parent, re.escape(root.resolve().name), scale, depth=0)
        if matches:
            return matches[0]
    return None


def _not_found(known: KnownDataset | None, text: str, scale: int, data_dir: str | os.PathLike | None) -> str:
    if known:
        found = "; ".join(f"{root} has {describe_folder(root)}" for root in dataset_roots(data_dir))
        looked = describe_layouts(known.title, scale)
        return f"{known.name} ×{scale} was not found; {known.fetch_hint(data_dir)}; {found}; looked for {looked}"
    if os.sep in text or text in ("", ".", ".."):
        return f"{text or 'the empty name'}: no such folder"
    return f"there is no set or folder {text!r}: {suggest_dataset(text)}"


def _search(home: Path, set_pattern: str, scale: int, depth: int = DEPTH) -> list[Match]:
    if matches := find_matches(home, set_pattern, scale, depth):
        return matches
    unpacked = unpack_matching(home, set_pattern, scale, depth)
    return find_matches(unpacked, set_pattern, scale, depth=0) if unpacked else []


def _in_folder(folder: Path, scale: int) -> Match:
    """Returns the set that a folder is, or the one it holds."""
    folder = folder.resolve()
    own = find_matches(folder.parent, re.escape(folder.name), scale, depth=0)
    if own and own[0].layout is not LAYOUTS[-1]:
        return own[0]
    if images_in(folder):
        if folder.name.casefold() == f"image_srf_{scale}":
            return find_matches(folder.parent.parent, re.escape(folder.parent.name), scale, depth=0)[0]
        return own[0]
    matches = _search(folder, ANY_NAME, scale, depth=1)
    matches = [match for match in matches if match.layout is not LAYOUTS[-1]] or matches
    if not matches:
        raise DatasetError(
            f"{folder}: neither images nor a set ×{scale}; looked for {describe_layouts('NAME', scale)}: it has "
            f"{describe_folder(folder)}"
        )
    if len(matches) > 1:
        names = ", ".join(sorted({match.name for match in matches}))
        raise DatasetError(f"{folder} holds several sets: {names}; name one, and give the folder as the data's")
    return matches[0]


def _center(size: int, wanted: int) -> slice:
    start = max(size - wanted, 0) // 2
    return slice(start, start + min(size, wanted))


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}×{image.shape[0]}"
