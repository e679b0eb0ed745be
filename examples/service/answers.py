"""Streamed responses."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

from work import Worker

from lamnet_models import LAMNetError
from lamnet_models.inference.files import Result

CHUNK = 3 << 16  # bytes; a multiple of 3, so that base64 chunks have no padding


async def progress_lines(worker: Worker, source: Path, folder: Path, ext: str) -> AsyncIterator[bytes]:
    """Yield JSON lines: queue length, progress, file name and size, content in base64, end mark."""
    yield _line(ahead=worker.pending)
    try:
        async with aclosing(worker.run(source, folder, ext)) as events:
            async for event in events:
                if not isinstance(event, Result):
                    yield _line(done=event[0], total=event[1])
                    continue
                width, height = event.size
                yield _line(file=event.target.name, width=width, height=height, bytes=event.target.stat().st_size)
                for chunk in _chunks(event.target):
                    yield _line(data=base64.b64encode(chunk).decode())
                yield _line(end=True)
    except LAMNetError as error:
        yield _line(error=str(error))


async def archive(worker: Worker, sources: Sequence[Path], ext: str) -> AsyncIterator[bytes]:
    """Yield a zip file of the results as they are written, with ``errors.txt`` for failures."""
    out, errors, names = _ZipStream(), [], set()
    with zipfile.ZipFile(out, "w") as package:  # stored: images are compressed already
        for number, source in enumerate(sources, start=1):
            try:
                result = await worker.result(source, source.parent, ext)
            except LAMNetError as error:
                errors.append(str(error))
                continue
            name = result.target.name
            name = f"{number}_{name}" if name in names else name
            names.add(name)
            with package.open(name, "w", force_zip64=True) as file:
                for chunk in _chunks(result.target):
                    file.write(chunk)
                    yield out.take()
            result.target.unlink()
        if errors:
            package.writestr("errors.txt", "\n".join([*errors, ""]))
    yield out.take()


def _line(**values: object) -> bytes:
    return json.dumps(values, ensure_ascii=False).encode() + b"\n"


def _chunks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


class _ZipStream(io.RawIOBase):
    """Write-only stream that is drained while it is written."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def take(self) -> bytes:
        data = bytes(self._written)
        self._written.clear()
        return data
