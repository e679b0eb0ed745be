"""Raw video: frames as one stream of bytes, in and out, as ffmpeg reads and writes them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

import numpy as np

from ..errors import ImageError
from .sizing import resize_image
from .upscalers import UpscalerPool


def upscale_raw(
    source: BinaryIO,
    sink: BinaryIO,
    size: tuple[int, int],
    upscalers: UpscalerPool,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Enlarges frames of raw RGB, 8 bits a channel, row by row from the top, until the stream ends.

    While one is enlarged, the next one is read and the last one written, by a thread each: memory holds these three,
    however long the video.

    Args:
        source: Where the frames come from.
        sink: Where the larger ones go.
        size: Width and height of the frames that come.
        upscalers: What to enlarge them with, and to what.
        progress: Called after each frame with the number of frames done.

    Returns:
        The number of frames written.

    Raises:
        ImageError: If there are no frames, or the last one is incomplete; those before it are written.
        LAMNetError: If the size asked for is no enlargement, or memory is short.
        OSError: If the sink takes no more.
    """
    width, height = size
    upscaler = upscalers.for_size(height, width)
    result = upscalers.result_size(height, width)
    count = 0
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        coming, leaving = reader.submit(_frame, source, height, width), None
        while len(data := coming.result()) == 3 * height * width:
            coming = reader.submit(_frame, source, height, width)
            pixels = np.frombuffer(data, np.uint8).reshape(height, width, 3)
            larger = resize_image(upscaler(pixels), *result)
            _wait(leaving)
            leaving = writer.submit(sink.write, larger.data)
            count += 1
            if progress:
                progress(count)
        _wait(leaving)
    sink.flush()
    if data:
        raise ImageError(
            f"frame {count + 1} has {len(data):,} of its {3 * height * width:,} bytes: the stream was cut, or its "
            f"frames are not of {width}x{height} pixels in rgb24"
        )
    if not count:
        raise ImageError("there are no frames in the stream")
    return count


def _frame(source: BinaryIO, height: int, width: int) -> bytearray:
    """Returns the bytes of the next frame, fewer where the stream ends."""
    data, length = bytearray(3 * height * width), 0
    view = memoryview(data)
    while length < len(data) and (got := source.readinto(view[length:])):
        length += got
    view.release()
    del data[length:]
    return data


def _wait(written: Future | None) -> None:
    if written:
        written.result()
