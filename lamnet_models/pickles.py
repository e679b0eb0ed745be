"""Check for pickles that would allocate far more memory than their file size.

``torch.load(weights_only=True)`` runs no code of a pickle, but allocates any amount of memory that the pickle requests.
"""

from __future__ import annotations

import mmap
import os
import zipfile
from pathlib import Path

from .errors import CheckpointError

_MAX_COMPRESSION = 20  # maximum compression ratio; weights are hardly compressible
_ALWAYS_ALLOWED = 1 << 24  # uncompressed bytes
_MAX_PICKLE_BYTES = 1 << 26
_ALLOCATING_TYPE = b"bytearray"  # allocates any length; state dicts do not use it


def check_pickle(path: Path) -> None:
    """Raise CheckpointError if reading a pickle would take far more memory than its file size."""
    size = os.path.getsize(path)
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
                if unpacked > max(_ALWAYS_ALLOWED, _MAX_COMPRESSION * size):
                    raise CheckpointError(
                        f"{path}: not read: {size:,} bytes unpack to {unpacked:,}, too many for weights"
                    )
                names = [name for name in archive.namelist() if name.endswith(".pkl")]
                pickles = [archive.open(name).read(_MAX_PICKLE_BYTES) for name in names]
        except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError):
            return  # torch.load reports the damage
        allocates = any(_ALLOCATING_TYPE in data for data in pickles)
    elif size:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            allocates = data.find(_ALLOCATING_TYPE) >= 0
    else:
        return
    if allocates:
        raise CheckpointError(f"{path}: not read: contains a bytearray, which could exhaust the memory")
