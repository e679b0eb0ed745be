"""Manifests of downloaded datasets: sources and SHA-256 digests."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ..files import file_digest
from .download import RemoteFile

_NAME = ".lamnet-manifest.json"


def write_manifest(folder: Path, sources: list[RemoteFile]) -> None:
    """Write the sources and SHA-256 digests of a folder's files.

    Args:
        folder: The folder.
        sources: Downloaded files.
    """
    files = {str(file.relative_to(folder)): file_digest(file) for file in sorted(folder.rglob("*")) if file.is_file()}
    content = {"sources": [asdict(source) for source in sources], "sha256": files}
    (folder / _NAME).write_text(json.dumps(content, indent=1), encoding="utf-8")


def check_manifest(folder: Path) -> list[str] | None:
    """Return one line per file that differs from its download, or None without a manifest.

    Args:
        folder: The folder of the manifest, or one below it.
    """
    for root in (folder, *folder.parents):
        if (root / _NAME).is_file():
            break
    else:
        return None
    try:
        digests = json.loads((root / _NAME).read_text(encoding="utf-8"))["sha256"]
        expected = {root / name: digest for name, digest in digests.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"{root / _NAME}: damaged"]
    missing = [f"{file}: missing" for file in expected if not file.is_file()]
    return missing + [
        f"{file}: changed since the download"
        for file, digest in expected.items()
        if file.is_file() and file_digest(file) != digest
    ]
