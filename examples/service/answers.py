"""Answers that are sent while they are made."""

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
from lamnet_models.upscaling.steps import Result

CHUNK = 3 << 16  # bytes; a multiple of 3, so that pieces in base64 have no padding


async def progress_lines(worker: Worker, source: Path, folder: Path, ext: str) -> AsyncIterator[bytes]:
    """Yields JSON, one object a line: how many are ahead, steps, the result's facts, its bytes in base64, an end."""
    yield _line(ahead=worker.pending)
    try:
        async with aclosing(worker.run(source, folder, ext)) as steps:
            async for step in steps:
                if not isinstance(step, Result):
                    yield _line(done=step[0], total=step[1])
                    continue
                width, height = step.size
                yield _line(file=step.target.name, width=width, height=height, bytes=step.target.stat().st_size)
                for piece in _pieces(step.target):
                    yield _line(data=base64.b64encode(piece).decode())
                yield _line(end=True)
    except LAMNetError as error:
        yield _line(error=str(error))


async def archive(worker: Worker, sources: Sequence[Path], ext: str) -> AsyncIterator[bytes]:
    """Yields a zip file of the results, each as soon as it is there, and of the reasons for those that are not."""
    out, errors, names = _ZipStream(), [], set()
    with zipfile.ZipFile(out, "w") as package:  # stored: images are compressed already
        for number, source in enumerate(sources, start=1):
            try:
                async with aclosing(worker.run(source, source.parent, ext)) as steps:
                    (result,) = [step async for step in steps if isinstance(step, Result)]
            except LAMNetError as error:
                errors.append(str(error))
                continue
            name = result.target.name
            name = f"{number}_{name}" if name in names else name
            names.add(name)
            with package.open(name, "w", force_zip64=True) as file:
                for piece in _pieces(result.target):
                    file.write(piece)
                    yield out.take()
            result.target.unlink()
        if errors:
            package.writestr("errors.txt", "\n".join([*errors, ""]))
    yield out.take()


def _line(**values: object) -> bytes:
    return json.dumps(values, ensure_ascii=False).encode() + b"\n"


def _pieces(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while piece := file.read(CHUNK):
            yield piece


class _ZipStream(io.RawIOBase):
    """A file that is written from front to back, and whose content is taken away meanwhile."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._written)
        self._written.clear()
        return taken
