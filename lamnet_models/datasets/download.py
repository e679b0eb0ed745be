"""Resumable HTTP downloads with size and digest checks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests
import urllib3

from ..errors import DatasetError
from ..files import file_digest

Progress = Callable[[int, int | None], None]
"""Called with the bytes downloaded and the total, None if unknown."""

ATTEMPTS = 5
"""Maximum number of consecutive attempts without progress."""

_TIMEOUT = (10, 60)  # seconds: connect, read
_CHUNK_SIZE = 1 << 18


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        url: URL of the file.
        size: Size in bytes, if known.
        digest: ``"sha256:…"`` or ``"md5:…"`` in hexadecimal digits, if known.
    """

    url: str
    size: int | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """File name."""
        return self.url.rpartition("/")[2]


def download(file: RemoteFile, target: Path, progress: Progress | None = None, wait: float = 1.0) -> None:
    """Download a file, resuming an interrupted download.

    Received data are kept in ``TARGET.partial`` until the file is complete and checked.

    Args:
        file: File to download.
        target: Path of the complete file.
        progress: Called as bytes arrive.
        wait: Seconds before the second attempt, doubled for each one after it.

    Raises:
        DatasetError: If the server reports an error, the connection fails repeatedly, or size or digest do not match.
        OSError: If the disk fails; the partial file is kept.
    """
    partial = target.with_name(f"{target.name}.partial")
    resumed = partial.exists() and partial.stat().st_size > 0
    _download_to(partial, file, progress, wait)
    problem = _mismatch(partial, file)
    if problem and resumed:  # the partial file may be of another version
        partial.unlink()
        _download_to(partial, file, progress, wait)
        problem = _mismatch(partial, file)
    if problem:
        partial.unlink()
        raise DatasetError(f"{file.url}: {problem}; the download was deleted")
    partial.replace(target)


def _download_to(partial: Path, file: RemoteFile, progress: Progress | None, wait: float) -> None:
    failures = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            return _request(partial, file, before, progress)
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError, _IncompleteError) as error:
            after = partial.stat().st_size if partial.exists() else 0
            failures = 1 if after > before else failures + 1
            if failures >= ATTEMPTS:
                raise DatasetError(
                    f"{file.url}: {_reason(error)}; {after} bytes received and kept; run the command again to resume"
                ) from None
            time.sleep(wait * 2 ** (failures - 1))
        except requests.RequestException as error:
            raise DatasetError(f"{file.url}: {_reason(error)}") from None


def _request(partial: Path, file: RemoteFile, offset: int, progress: Progress | None) -> None:
    if file.size is not None and offset == file.size:
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    with requests.get(file.url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            if response.headers.get("Content-Range") == f"bytes */{offset}":  # already complete
                return
            partial.unlink()
            raise _IncompleteError("the file on the server has changed")
        response.raise_for_status()
        continued = response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
        if response.status_code != requests.codes.partial_content or not continued:
            offset = 0
        length = response.headers.get("Content-Length", "")
        total = file.size or (offset + int(length) if length.isdecimal() else None)
        done = offset
        with open(partial, "ab" if offset else "wb") as out:
            for piece in response.raw.stream(_CHUNK_SIZE, decode_content=False):
                out.write(piece)
                done += len(piece)
                if progress:
                    progress(done, total)
        if total is not None and done < total:
            raise _IncompleteError(f"the connection ended after {done} of {total} bytes")


class _IncompleteError(Exception):
    """The connection ended before the end of the file."""


def _mismatch(path: Path, file: RemoteFile) -> str | None:
    size = path.stat().st_size
    if file.size not in (None, size):
        return f"size must be {file.size} bytes, got {size}"
    if file.digest:
        algorithm, _, expected = file.digest.partition(":")
        actual = file_digest(path, algorithm)
        if actual != expected:
            return f"{algorithm} must be {expected}, got {actual}"
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, requests.HTTPError):
        return f"the server returned {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "the server timed out"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    return " ".join(str(error).split())
