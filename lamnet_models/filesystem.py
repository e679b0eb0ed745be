"""Atomic file writes and file digests."""

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Context manager for an atomic write to ``path``, whose folder is created if missing.

    Yields a temporary path in the same folder, with the same suffix. It replaces ``path`` if the block succeeds. If the
    block raises, it is removed and ``path`` is unchanged.

    Args:
        path: Output file.

    Yields:
        The temporary path to write to.
    """
    path = Path(path)
    temporary = path.with_name(
        f".lamnet-{secrets.token_hex(4)}{path.suffix}"
    )  # short: names may have the maximum length
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
    except OSError as error:
        error.filename = str(path)  # for the message
        raise
    mode = temporary.stat().st_mode  # the user's default; some writers create private files
    try:
        yield temporary
        temporary.chmod(mode)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces ``target`` when the block ends without an error.

    If the block raises, an existing ``target`` is left unchanged.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".lamnet-", dir=target.parent))
    temporary.chmod(0o777 & ~_umask())
    try:
        yield temporary
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=".lamnet-", dir=target.parent))
            os.replace(target, old)
            os.replace(temporary, target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def file_digest(path: str | os.PathLike, algorithm: str = "sha256") -> str:
    """Return the digest of a file in hexadecimal.

    Args:
        path: File to hash.
        algorithm: Name of a ``hashlib`` algorithm.
    """
    digest = hashlib.new(algorithm)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
