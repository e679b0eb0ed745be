"""Files over HTTP: resumed when cut off, checked before they are believed."""

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
"""Called with the bytes that are there and those of the whole file, None while nobody knows."""

ATTEMPTS = 5
"""How often a download is tried without a single byte of progress before it is given up."""

_TIMEOUT = (10, 60)  # seconds to connect, and between two pieces
_CHUNK_SIZE = 1 << 18


@dataclass(frozen=True)
class RemoteFile:
    """A file to download, and what is known about it.

    Attributes:
        url: Where it is.
        size: Its bytes, if known.
        digest: ``"sha256:…"`` or ``"md5:…"`` in hexadecimal digits, if known.
    """

    url: str
    size: int | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """Its file name."""
        return self.url.rpartition("/")[2]


def download(file: RemoteFile, target: Path, progress: Progress | None = None, wait: float = 1.0) -> None:
    """Downloads a file, going on where an earlier attempt, of this process or another, was cut off.

    What has come so far lies in ``target`` with ``.partial`` behind its name.

    Args:
        file: What to download.
        target: Where it shall be once it is whole and checked.
        progress: Called as bytes arrive.
        wait: Seconds before the second attempt, doubled for each one after it.

    Raises:
        DatasetError: If the server refuses, the connection fails again and again, or the file is not the one expected.
        OSError: If the disk fails; what has come is kept.
    """
    partial = target.with_name(f"{target.name}.partial")
    resumed = partial.exists() and partial.stat().st_size > 0
    _download_to(partial, file, progress, wait)
    problem = _mismatch(partial, file)
    if problem and resumed:  # perhaps it began as another file
        partial.unlink()
        _download_to(partial, file, progress, wait)
        problem = _mismatch(partial, file)
    if problem:
        partial.unlink()
        raise DatasetError(f"{file.url}: {problem}; nothing of it was kept")
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
                    f"{file.url}: {_reason(error)}; {after} bytes have come and are kept, so that trying again goes on "
                    "from there"
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
            if response.headers.get("Content-Range") == f"bytes */{offset}":  # there is no more
                return
            partial.unlink()
            raise _IncompleteError("the server has another file than before")
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
    """A connection has ended before the file."""


def _mismatch(path: Path, file: RemoteFile) -> str | None:
    size = path.stat().st_size
    if file.size not in (None, size):
        return f"has {size} bytes instead of {file.size}"
    if file.digest:
        kind, _, expected = file.digest.partition(":")
        actual = file_digest(path, kind)
        if actual != expected:
            return f"is not the file expected: {kind} {actual} instead of {expected}"
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, requests.HTTPError):
        return f"the server answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "the server does not answer"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    return " ".join(str(error).split())
