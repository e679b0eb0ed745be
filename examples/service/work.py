"""One image after another, in a thread of its own, while the server goes on answering."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio

from lamnet_models.app.uploads import upscale_upload
from lamnet_models.upscaling.steps import Result
from lamnet_models.upscaling.upscalers import UpscalerPool


class Worker:
    """Enlarges images in the order in which they come.

    Args:
        upscalers: What enlarges them.

    Attributes:
        pending: Number of images that wait or are under way.
    """

    def __init__(self, upscalers: UpscalerPool) -> None:
        self.upscalers = upscalers
        self.pending = 0
        # One thread: the network uses all cores already, and two images at once would take twice the memory.
        self._thread = ThreadPoolExecutor(1, "enlarge")

    async def run(self, source: Path, folder: Path, ext: str) -> AsyncIterator[tuple[int, int] | Result]:
        """Yields the steps done and all steps, and at the end the result; whoever stops listening ends the work.

        Args:
            source: The image.
            folder: Where the result goes.
            ext: Its format, see ``upscale_upload``.

        Raises:
            ImageError: If the image cannot be read, enlarged or written.
        """
        loop, events = asyncio.get_running_loop(), asyncio.Queue()
        unwanted = threading.Event()

        def step(done: int, total: int) -> None:
            if unwanted.is_set():
                raise _CancelledError
            loop.call_soon_threadsafe(events.put_nowait, (done, total))

        def work() -> Result | None:
            with contextlib.suppress(_CancelledError):
                if not unwanted.is_set():
                    return upscale_upload(source, folder, self.upscalers, ext, step)
            return None

        self.pending += 1
        future = loop.run_in_executor(self._thread, work)
        future.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            yield future.result()
        finally:
            unwanted.set()
            with anyio.CancelScope(shield=True):  # the folder is in use until the thread has noticed
                await asyncio.wait([future])
            self.pending -= 1


class _CancelledError(Exception):
    """Raised into work that nobody waits for any more."""
