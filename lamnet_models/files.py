"""Files that are either whole or not there, and what tells one from another."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` that becomes ``path`` when the block ends without an error.

    The temporary file has the same suffix, so that writers which choose the format by it do the right thing. When the
    block raises, the temporary file is removed and ``path`` is left as it was.

    Args:
        path: Where the file shall be. Its folder must exist.

    Yields:
        The path to write to.
    """
    path = Path(path)
    temporary = path.with_name(f".lamnet-{secrets.token_hex(4)}{path.suffix}")  # short, whatever the name's length
    temporary.touch(exist_ok=False)
    mode = temporary.stat().st_mode  # the user's own; some writers make files that nobody else may read
    try:
        yield temporary
        temporary.chmod(mode)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def file_digest(path: str | os.PathLike, algorithm: str = "sha256") -> str:
    """Returns a digest of a file in hexadecimal digits.

    Args:
        path: The file.
        algorithm: A name that ``hashlib`` knows.
    """
    digest = hashlib.new(algorithm)
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
