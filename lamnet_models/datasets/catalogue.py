"""The sets that papers report on: names, spellings, sizes."""

from __future__ import annotations

import difflib
import os
import re
import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class KnownDataset:
    """A set of images with a name.

    Attributes:
        name: Our name for it.
        title: The name as papers print it.
        count: Number of images.
        content: What is in it, in a few words.
        spellings: Other names of it, in files and in speech.
        apply: Where to apply for it, if it is given on application only.
    """

    name: str
    title: str
    count: int
    content: str
    spellings: tuple[str, ...] = ()
    apply: str | None = None

    @property
    def pattern(self) -> str:
        """Regular expression, to be matched without regard to case, for the names that folders give it."""
        words = (re.findall("[a-z]+|[0-9]+", spelling.lower()) for spelling in (self.name, *self.spellings))
        return "|".join("[-_ ]?".join(parts) for parts in words)

    def fetch_hint(self, data_dir: str | os.PathLike | None = None) -> str:
        """Returns what a person has to do to get it.

        Args:
            data_dir: Where it shall be put, if not in the usual place.
        """
        if self.apply:
            return f"given on application only: apply at {self.apply}"
        place = "" if data_dir is None else f" --data {shlex.quote(os.fspath(data_dir))}"
        return f"get it with: lamnet data fetch {self.name}{place} (or lamnet eval --fetch)"


SAMPLE = KnownDataset("sample", "sample", 4, "photographs that scikit-image brings along", ("samples",))

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
"""The known sets by name."""


def known_dataset(name: str) -> KnownDataset | None:
    """Returns the set that somebody means by a name, in whatever spelling: ``"B100"``, ``"Urban-100"``."""
    return next((known for known in KNOWN_DATASETS.values() if re.fullmatch(known.pattern, name, re.IGNORECASE)), None)


def suggest_dataset(name: str) -> str:
    """Returns what to say to somebody whose name for a set is unknown."""
    near = difflib.get_close_matches(name.lower(), KNOWN_DATASETS, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(KNOWN_DATASETS)}, and any folder of images"
