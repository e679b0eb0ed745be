"""Safe extraction of image archives."""

from __future__ import annotations

import hashlib
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from platformdirs import user_cache_path

from ..errors import DatasetError
from ..filesystem import atomic_folder
from .layouts import sub_folders

_ENDINGS = r"\.(tar|tar\.gz|tgz|zip)"
_MAX_BYTES = 64 * 2**30
"""Upper bound on unpacked bytes, against archive bombs."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the regular files and folders of a tar or zip archive.

    Args:
        archive: The archive.
        folder: Existing folder to unpack into.

    Raises:
        DatasetError: If the archive is damaged, or a member is a link, a device, or outside of the folder.
    """
    try:
        members = _zip_members(archive) if zipfile.is_zipfile(archive) else _tar_members(archive)
        remaining = _MAX_BYTES
        for name, source in members:
            target = folder / _safe_path(name)
            if source is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with source, open(target, "wb") as file:
                while chunk := source.read(min(1 << 20, remaining + 1)):
                    remaining -= len(chunk)
                    if remaining < 0:
                        raise DatasetError(f"unpacks to more than {_MAX_BYTES >> 30} GiB")
                    file.write(chunk)
    except DatasetError as error:
        raise DatasetError(f"{archive}: {error}") from None
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno is not None and error.filename != str(archive):
            raise  # a disk error, not a damaged archive
        raise DatasetError(f"{archive}: damaged or not an archive ({error})") from None


def unpack_matching(home: Path, set_pattern: str, scale: int, depth: int) -> Path | None:
    """Unpack a dataset in the Hugging Face layout: ``NAME_HR.tar.gz``, ``NAME_LR_x2.tar.gz``.

    Args:
        home: Folder to search.
        set_pattern: Regular expression for the dataset's name.
        scale: Scale factor.
        depth: Levels of subfolders to search.

    Returns:
        Folder in the user's cache with the unpacked files, or None if no such archives were found.
    """
    folders = [home]
    for _ in range(depth + 1):
        for folder in folders:
            files = _files(folder)
            names = rf"(?P<set>{set_pattern})_(?P<part>HR|LR_x{scale}){_ENDINGS}"
            matches = [(match, file) for file in files if (match := re.fullmatch(names, file.name, re.IGNORECASE))]
            name = next((match["set"] for match, _ in matches if match["part"].upper() == "HR"), None)
            if name is not None:
                return _unpack_once([file for match, file in matches if match["set"] == name])
        folders = [child for folder in folders for child in sub_folders(folder)]
    return None


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.is_file())
    except OSError:  # missing or unreadable
        return []


def _unpack_once(archives: list[Path]) -> Path:
    identity = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in archives]
    digest = hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
    target = user_cache_path("lamnet") / "unpacked" / digest
    if not target.is_dir():
        with atomic_folder(target) as folder:
            for archive in archives:
                unpack(archive, folder)
    return target


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with tarfile.open(archive) as tar:
        for member in tar:
            if not (member.isreg() or member.isdir()):
                raise DatasetError(f"member {member.name!r} is a link or a device")
            yield member.name, tar.extractfile(member) if member.isreg() else None
        while tar.fileobj.read(1 << 20):  # read to the end: the checksum of a compressed archive is there
            pass


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            file_type = member.external_attr >> 28  # set by archives written on Unix
            if file_type not in (0, 0o10, 0o4):
                raise DatasetError(f"member {member.filename!r} is a link or a device")
            yield member.filename, None if member.is_dir() else zipped.open(member)


def _safe_path(name: str) -> Path:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name:
        raise DatasetError(f"member {name!r} would be written outside of the folder")
    return Path(*path.parts)
