"""Pickles that ask for more memory than they hold, told before they are read.

No code in a pickle is run: PyTorch's reader for weights alone sees to that. It would still fill whatever memory a file
asks for.
"""

from __future__ import annotations

import mmap
import os
import zipfile
from pathlib import Path

from .errors import CheckpointError

_MAX_COMPRESSION = 20  # by which a sound file may be compressed; weights hardly are
_ALWAYS_ALLOWED = 1 << 24
_MAX_PICKLE_BYTES = 1 << 26
_ALLOCATING_TYPE = b"bytearray"  # takes a length, and fills as much memory with zeros; no state dict needs it


def check_pickle(path: Path) -> None:
    """Raises CheckpointError if reading a PyTorch checkpoint would take memory out of all proportion to the file."""
    size = os.path.getsize(path)
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                claimed = sum(entry.file_size for entry in archive.infolist())
                if claimed > max(_ALWAYS_ALLOWED, _MAX_COMPRESSION * size):
                    raise CheckpointError(f"{path}: {size:,} bytes that unpack to {claimed:,} are no weights; not read")
                names = [name for name in archive.namelist() if name.endswith(".pkl")]
                pickles = [archive.open(name).read(_MAX_PICKLE_BYTES) for name in names]
        except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError):
            return  # PyTorch will say that it is damaged
        asks = any(_ALLOCATING_TYPE in data for data in pickles)
    elif size:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            asks = data.find(_ALLOCATING_TYPE) >= 0
    else:
        return
    if asks:
        raise CheckpointError(f"{path}: holds a bytearray, which no weights need and could fill the memory; not read")
