"""Upscale raw video: a byte stream of rgb24 frames, as read and written by ffmpeg."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

import numpy as np

from ..errors import ImageError
from .tiling import Progress
from .upscaler import UpscalerPool


def upscale_raw(
    source: BinaryIO,
    sink: BinaryIO,
    size: tuple[int, int],
    upscalers: UpscalerPool,
    progress: Progress | None = None,
) -> int:
    """Upscale raw RGB frames, 8 bits per channel, top row first, until the stream ends.

    While one frame is upscaled, one thread reads the next and another writes the previous one. Memory holds these three
    frames, regardless of the length of the video.

    Args:
        source: Stream of input frames.
        sink: Stream for output frames.
        size: Width and height of the input frames.
        upscalers: Networks and target size.
        progress: Called after each frame with the number of frames done and 0, as their total is unknown.

    Returns:
        The number of frames written.

    Raises:
        ImageError: If the stream is empty, or the last frame is incomplete; the frames before it are written.
        LAMNetError: If the target size is not larger than the frames or out of range, or memory is short.
        OSError: If writing to the sink fails.
    """
    width, height = size
    count = 0
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        pending_read, pending_write = reader.submit(_read_frame, source, height, width), None
        while len(data := pending_read.result()) == 3 * height * width:
            pending_read = reader.submit(_read_frame, source, height, width)
            pixels = np.frombuffer(data, np.uint8).reshape(height, width, 3)
            upscaled = upscalers.run(pixels).image
            _wait(pending_write)
            pending_write = writer.submit(sink.write, upscaled.data)
            count += 1
            if progress:
                progress(count, 0)
        _wait(pending_write)
    sink.flush()
    if data:
        raise ImageError(
            f"frame {count + 1} must have {3 * height * width:,} bytes, got {len(data):,}: the stream is truncated, or "
            f"its frames are not {width}x{height} pixels in rgb24"
        )
    if not count:
        raise ImageError("the stream contains no frames")
    return count


def _read_frame(source: BinaryIO, height: int, width: int) -> bytearray:
    """Return the bytes of the next frame, fewer at the end of the stream."""
    data, length = bytearray(3 * height * width), 0
    view = memoryview(data)
    while length < len(data) and (count := source.readinto(view[length:])):
        length += count
    view.release()
    del data[length:]
    return data


def _wait(future: Future | None) -> None:
    if future:
        future.result()
