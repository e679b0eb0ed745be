"""Uploaded files enlarged as the command does it, and what the page shows of them."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from ..devices import resolve_device
from ..errors import ImageError
from ..images import Picture, write_image
from ..images.pillow import from_pillow, to_pillow
from ..lamnet import LAMNet
from ..registry import resolve_model
from ..upscaling.tiling import Progress
from ..upscaling.upscalers import UpscalerPool
from .uploads import read_upload, upscale_upload

PREVIEW_SIDE = 4096
"""Longest side in pixels of what the page shows: no more than a telephone's browser can."""

KEEP_SECONDS = 3600
"""Age at which uploads and results are removed."""


@dataclass(frozen=True)
class UpscaledFile:
    """An enlarged file, and two pictures of one size to compare in a browser.

    Attributes:
        file: The result, the file that the command would write.
        views: The original, enlarged by bicubic interpolation, and the result; reduced where a side is longer than
            ``PREVIEW_SIDE``. None if the result has more pixels than are read here.
        size: Width and height of the result in pixels.
        notes: Lines worth telling, such as that memory was short.
    """

    file: Path
    views: tuple[Path, Path] | None
    size: tuple[int, int]
    notes: tuple[str, ...]


class UpscaleService:
    """Networks, each loaded when it is first wanted, and a folder for uploads and results.

    Args:
        folder: The folder; what is in it and older than ``KEEP_SECONDS`` is removed when something new is made.
        device: Where to compute, see [`Upscaler`][lamnet_models.Upscaler].
        precision: Type to compute in, see there.

    Raises:
        ValueError: If there is no such device.
    """

    def __init__(self, folder: Path, device: str = "auto", precision: str = "auto") -> None:
        self._folder = folder
        self._device = resolve_device(device)
        self._precision = precision
        self.upscalers = cache(self._upscalers)

    def _upscalers(self, model: str | os.PathLike) -> UpscalerPool:
        network = resolve_model(model)
        # Exact tiles have the whole image's result, and many steps, to show and to stop at.
        tile = "exact" if isinstance(network, LAMNet) else "auto"
        return UpscalerPool(network, tile=tile, device=self._device, precision=self._precision)

    def preview(self, source: Path) -> tuple[Picture, Path]:
        """Reads an uploaded file; returns the picture, and a file that browsers show.

        Raises:
            ImageError: If it cannot be read, in the words of ``lamnet upscale``.
        """
        picture = read_upload(source)
        return picture, _preview(picture, self._new_folder() / "picture", _shown_size(picture))

    def upscale(self, source: Path, model: str | os.PathLike, ext: str, progress: Progress) -> UpscaledFile:
        """Enlarges an uploaded file.

        Args:
            source: The file.
            model: Name or checkpoint of the network.
            ext: Format of the result, such as ``"png"``; ``"auto"`` is that of the file.
            progress: Called after each step with the steps done and all steps. What it raises ends the work, of which
                nothing is left then.

        Raises:
            ImageError: If the file cannot be read, enlarged or written, in the words of ``lamnet upscale``.
            LAMNetError: If there is no such model.
        """
        upscalers, folder = self.upscalers(model), self._new_folder()

        def step(done: int, total: int) -> None:
            for path in (folder, source.parent):  # in use, however long it takes
                os.utime(path)
            progress(done, total)

        try:
            result = upscale_upload(source, folder, upscalers, ext, step)
            return UpscaledFile(result.target, _views(source, result.target), result.size, result.notes)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _new_folder(self) -> Path:
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # removed by somebody else's work meanwhile
                if path.stat().st_mtime < time.time() - KEEP_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)
        folder = self._folder / secrets.token_hex(16)  # part of an address, which nobody else shall guess
        folder.mkdir()
        return folder


def _views(source: Path, target: Path) -> tuple[Path, Path] | None:
    try:
        larger = read_upload(target)
    except ImageError:  # more pixels than a file may have that comes from outside
        return None
    size = _shown_size(larger)
    folder = target.parent
    return _preview(read_upload(source), folder / "before", size), _preview(larger, folder / "after", size)


def _shown_size(picture: Picture) -> tuple[int, int]:
    factor = min(1, PREVIEW_SIDE / max(picture.width, picture.height))
    return max(1, round(factor * picture.width)), max(1, round(factor * picture.height))


def _preview(picture: Picture, path: Path, size: tuple[int, int]) -> Path:
    """Writes a picture of 8 bits in a format that every browser shows, interpolated to a size."""
    pixels = picture.pixels if picture.pixels.dtype == np.uint8 else (picture.pixels >> 8).astype(np.uint8)
    image = to_pillow(Picture(pixels, picture.icc_profile)).resize(size, Image.Resampling.BICUBIC)
    path = path.with_suffix(".webp" if picture.channels in (2, 4) else ".jpg")
    write_image(path, from_pillow(image))
    return path
