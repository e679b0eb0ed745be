"""Dataset root folders."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

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
