"""Known datasets: names, spellings, locations, and the bundled sample photographs."""

from __future__ import annotations

import difflib
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.data
from platformdirs import user_cache_path

from ..errors import ImageError
from ..image_io import read_rgb


@dataclass(frozen=True)
class KnownDataset:
    """A benchmark dataset.

    Attributes:
        name: Canonical name.
        title: Name as printed in papers.
        count: Number of images.
        content: Short description.
        spellings: Other names in use.
        apply: URL to apply for access, if the dataset is available on application only.
    """

    name: str
    title: str
    count: int
    content: str
    spellings: tuple[str, ...] = ()
    apply: str | None = None

    @property
    def pattern(self) -> str:
        """Regular expression for folder names, to be matched case-insensitively."""
        words = (re.findall("[a-z]+|[0-9]+", spelling.lower()) for spelling in (self.name, *self.spellings))
        return "|".join("[-_ ]?".join(parts) for parts in words)

    def fetch_hint(self, data_dir: str | os.PathLike | None = None) -> str:
        """Return instructions for obtaining the dataset.

        Args:
            data_dir: Download folder; None for the default.
        """
        if self.apply:
            return f"available on application only: apply at {self.apply}"
        option = "" if data_dir is None else f" --data {shlex.quote(os.fspath(data_dir))}"
        return f"download it with: lamnet data fetch {self.name}{option} (or lamnet eval --fetch)"


SAMPLE = KnownDataset("sample", "sample", 4, "photographs bundled with scikit-image", ("samples",))

KNOWN_DATASETS = {
    known.name: known
    for known in (
        KnownDataset("set5", "Set5", 5, "five small photographs"),
        KnownDataset("set14", "Set14", 14, "photographs and drawings"),
        KnownDataset("bsd100", "BSD100", 100, "natural scenes", ("b100", "bsds100")),
        KnownDataset("urban100", "Urban100", 100, "buildings, much fine structure"),
        KnownDataset("manga109", "Manga109", 109, "pages of manga", apply="http://www.manga109.org/en/download.html"),
        KnownDataset("div2k_valid", "DIV2K_valid", 100, "photographs of about 2K", ("div2k_val", "div2k")),
        SAMPLE,
    )
}
"""Known datasets by name."""


def known_dataset(name: str) -> KnownDataset | None:
    """Return the dataset with a name in any spelling (``"B100"``, ``"Urban-100"``), or None."""
    return next((known for known in KNOWN_DATASETS.values() if re.fullmatch(known.pattern, name, re.IGNORECASE)), None)


def suggest_dataset(name: str, folders: bool = True) -> str:
    """Return a hint for an unknown dataset name; ``folders``: whether a folder of images is valid too."""
    near = difflib.get_close_matches(name.lower(), KNOWN_DATASETS, n=1)
    names = f"use {', '.join(KNOWN_DATASETS)}" + (" or a folder of images" if folders else "")
    return f"did you mean {near[0]}?" if near else names


DATA_VARIABLE = "LAMNET_DATA"
"""Environment variable with the dataset roots, separated as in ``PATH``; the first is the download folder."""


def dataset_roots(data_dir: str | os.PathLike | None = None) -> list[Path]:
    """Return the folders searched for datasets.

    Args:
        data_dir: The only root; by default, the folders in ``LAMNET_DATA``, then the user's cache.
    """
    if data_dir is not None:
        return [Path(data_dir)]
    configured = os.environ.get(DATA_VARIABLE, "").split(os.pathsep)
    return [*(Path(folder).expanduser() for folder in configured if folder), user_cache_path("lamnet") / "data"]


_FILES = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "motorcycle": "motorcycle_left.png",
}

SAMPLES = tuple(_FILES)
"""Names of the sample photographs."""


def sample_path(name: str) -> Path:
    """Return the path of a sample photograph."""
    return Path(skimage.data.__file__).parent / _FILES[name]


def read_photo(photo: str | os.PathLike) -> np.ndarray:
    """Read a sample photograph by name, or an image file.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: If the file does not exist or cannot be read.
    """
    if photo in SAMPLES:
        photo = sample_path(photo)
    elif not Path(photo).exists():
        raise ImageError(f"{photo}: no such file, and not a sample; samples are {', '.join(SAMPLES)}")
    return read_rgb(photo)
