"""Background worker: upscales one image at a time in a separate thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio

from lamnet_models.app.service import upscale_upload
from lamnet_models.inference.files import Result
from lamnet_models.inference.upscaler import UpscalerPool


class Worker:
    """Sequential executor of upscale jobs.

    Args:
        upscalers: Networks to upscale with.

    Attributes:
        pending: Number of images queued or in progress.
    """

    def __init__(self, upscalers: UpscalerPool) -> None:
        self.upscalers = upscalers
        self.pending = 0
        # One thread: the network uses all cores, and two images at once would take twice the memory.
        self._executor = ThreadPoolExecutor(1, "upscale")

    async def run(self, source: Path, folder: Path, ext: str) -> AsyncIterator[tuple[int, int] | Result]:
        """Yield progress as (done, total), then the result; closing the generator cancels the job.

        Args:
            source: Input image.
            folder: Output folder.
            ext: Output format, see ``upscale_upload``.

        Raises:
            ImageError: If reading, upscaling or writing fails.
        """
        loop, events = asyncio.get_running_loop(), asyncio.Queue()
        cancelled = threading.Event()

        def on_progress(done: int, total: int) -> None:
            if cancelled.is_set():
                raise _CancelledError
            loop.call_soon_threadsafe(events.put_nowait, (done, total))

        def work() -> Result | None:
            with contextlib.suppress(_CancelledError):
                return upscale_upload(source, folder, self.upscalers, ext, on_progress)
            return None

        self.pending += 1
        job = self._executor.submit(work)
        future = asyncio.wrap_future(job)
        future.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            yield future.result()
        finally:
            cancelled.set()
            job.cancel()  # if it is queued
            with anyio.CancelScope(shield=True):  # the folder is in use until the thread stops
                await asyncio.wait([future])
            self.pending -= 1

    async def result(self, source: Path, folder: Path, ext: str) -> Result:
        """Return the result of a job, which is cancelled with this call.

        Args:
            source: Input image.
            folder: Output folder.
            ext: Output format, see ``upscale_upload``.

        Raises:
            ImageError: If reading, upscaling or writing fails.
        """
        async with contextlib.aclosing(self.run(source, folder, ext)) as events:
            return [event async for event in events][-1]


class _CancelledError(Exception):
    """Raised by the progress callback of a cancelled job."""
