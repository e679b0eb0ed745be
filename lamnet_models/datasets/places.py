"""Where sets of images lie."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

DATA_VARIABLE = "LAMNET_DATA"
"""Environment variable: folders that hold sets of images, separated as in ``PATH``; the first is where they are
downloaded to."""


def dataset_roots(data_dir: str | os.PathLike | None = None) -> list[Path]:
    """Returns the folders where sets are looked for.

    Args:
        data_dir: The only such folder; by default, those in ``LAMNET_DATA``, then the user's cache.
    """
    if data_dir is not None:
        return [Path(data_dir)]
    configured = os.environ.get(DATA_VARIABLE, "").split(os.pathsep)
    return [*(Path(folder).expanduser() for folder in configured if folder), user_cache_path("lamnet") / "data"]
