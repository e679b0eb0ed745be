"""What a downloaded set was made of, kept beside it to compare with later."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ..files import file_digest
from .download import RemoteFile

_NAME = ".lamnet-manifest.json"


def write_manifest(folder: Path, sources: list[RemoteFile]) -> None:
    """Writes down where a folder's files come from and their SHA-256.

    Args:
        folder: The folder.
        sources: What was downloaded.
    """
    files = {str(file.relative_to(folder)): file_digest(file) for file in sorted(folder.rglob("*")) if file.is_file()}
    content = {"sources": [asdict(source) for source in sources], "sha256": files}
    (folder / _NAME).write_text(json.dumps(content, indent=1), encoding="utf-8")


def check_manifest(folder: Path) -> list[str] | None:
    """Returns a line for each file that is not as it was downloaded, or None if nothing was written down.

    Args:
        folder: The folder that was written about, or one below it.
    """
    for place in (folder, *folder.parents):
        if (place / _NAME).is_file():
            break
    else:
        return None
    try:
        digests = json.loads((place / _NAME).read_text(encoding="utf-8"))["sha256"]
        wanted = {place / name: digest for name, digest in digests.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"{place / _NAME}: damaged"]
    missing = [f"{file}: is missing" for file in wanted if not file.is_file()]
    return missing + [
        f"{file}: is not as it was downloaded"
        for file, digest in wanted.items()
        if file.is_file() and file_digest(file) != digest
    ]
