"""Upscale service behind the web page: uploads, results and previews."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from ..devices import resolve_device
from ..errors import ImageError, one_line
from ..factory import resolve_model
from ..image_io import WRITABLE, Picture, read_image, write_image
from ..image_io.formats import result_extension
from ..image_io.picture import from_pillow, to_pillow
from ..inference.files import Job, Result, run_jobs
from ..inference.tiling import Progress
from ..inference.upscaler import UpscalerPool
from ..integrations.onnxruntime import OnnxNetwork
from ..lamnet import LAMNet

PREVIEW_SIDE = 4096
"""Longest side of a preview in pixels, within the limits of mobile browsers."""

KEEP_SECONDS = 3600
"""Age in seconds at which uploads and results are deleted."""

_MAX_NETWORKS = 16  # in memory; each strength is a network


@dataclass(frozen=True)
class UpscaledFile:
    """An upscaled file, with two previews of equal size for comparison.

    Attributes:
        file: Output file, identical to that of ``lamnet upscale``.
        views: Previews of the input, upscaled by bicubic interpolation, and of the result; downscaled if a side exceeds
            ``PREVIEW_SIDE``. None if the result exceeds the pixel limit for reading.
        size: Width and height of the result in pixels.
        notes: Warnings, such as that memory was short.
    """

    file: Path
    views: tuple[Path, Path] | None
    size: tuple[int, int]
    notes: tuple[str, ...]


class UpscaleService:
    """Upscaling and previews of uploaded files; networks are loaded on first use, and the last 16 are kept.

    Args:
        folder: Folder for uploads and results; entries older than ``KEEP_SECONDS`` are deleted when a new one is added.
        device: Device of the computation, see [`Upscaler`][lamnet_models.Upscaler].
        precision: Precision of the computation, see [`Upscaler`][lamnet_models.Upscaler].

    Raises:
        ValueError: If the device is not available.
    """

    def __init__(self, folder: Path, device: str = "auto", precision: str = "auto") -> None:
        self._folder = folder
        resolve_device(device)  # raises
        self._device = device
        self._precision = precision
        self._open = lru_cache(_MAX_NETWORKS)(self._open_upscalers)

    def upscalers(self, model: str | os.PathLike, strength: float | None = None) -> UpscalerPool:
        """Return the upscalers of a model, loaded on first use.

        Args:
            model: Name or checkpoint of the network.
            strength: Strength of the photo weights; None: the default weights.
        """
        return self._open(model, strength)

    def _open_upscalers(self, model: str | os.PathLike, strength: float | None) -> UpscalerPool:
        network = resolve_model(model, strength=strength)
        # Exact tiles give the result of the whole image, with frequent progress updates at which it can be cancelled.
        tile = "exact" if isinstance(network, LAMNet) else "auto"
        device = self._device if isinstance(network, OnnxNetwork) else resolve_device(self._device)
        return UpscalerPool(network, tile=tile, device=device, precision=self._precision)

    def preview(self, source: Path) -> tuple[Picture, Path]:
        """Read an uploaded file; return the image and a preview file for browsers.

        Raises:
            ImageError: If it cannot be read, with the message of ``lamnet upscale``.
        """
        picture = read_upload(source)
        return picture, _preview(picture, self._new_folder() / "picture", _preview_size(picture))

    def upscale(
        self,
        source: Path,
        model: str | os.PathLike,
        ext: str,
        progress: Progress,
        strength: float | None = None,
    ) -> UpscaledFile:
        """Upscale an uploaded file.

        Args:
            source: The file.
            model: Name or checkpoint of the network.
            ext: Output format, such as ``"png"``; ``"auto"``: the file's format.
            progress: Called after each tile with the number of tiles done and their total. An exception it raises
                cancels the job and deletes its files.
            strength: Strength of the photo weights, see [`Upscaler`][lamnet_models.Upscaler]. None: the default
                weights.

        Raises:
            ImageError: If reading, upscaling or writing fails, with the message of ``lamnet upscale``.
            LAMNetError: If the model does not exist.
        """
        upscalers, folder = self.upscalers(model, strength), self._new_folder()

        def on_progress(done: int, total: int) -> None:
            for path in (folder, source.parent):  # keep folders in use from expiring
                os.utime(path)
            progress(done, total)

        try:
            result = upscale_upload(source, folder, upscalers, ext, on_progress)
            return UpscaledFile(result.target, _views(source, result.target), result.size, result.notes)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _new_folder(self) -> Path:
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # deleted by a concurrent request
                if path.stat().st_mtime < time.time() - KEEP_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)
        folder = self._folder / secrets.token_hex(16)  # part of a URL, which must not be guessable
        folder.mkdir()
        return folder


def _views(source: Path, target: Path) -> tuple[Path, Path] | None:
    try:
        result = read_upload(target)
    except ImageError:  # the result exceeds the pixel limit for untrusted files
        return None
    size = _preview_size(result)
    folder = target.parent
    return _preview(read_upload(source), folder / "before", size), _preview(result, folder / "after", size)


def _preview_size(picture: Picture) -> tuple[int, int]:
    factor = min(1, PREVIEW_SIDE / max(picture.width, picture.height))
    return max(1, round(factor * picture.width)), max(1, round(factor * picture.height))


def _preview(picture: Picture, path: Path, size: tuple[int, int]) -> Path:
    """Write an 8-bit preview of a given size in a format that all browsers display."""
    pixels = picture.pixels if picture.pixels.dtype == np.uint8 else (picture.pixels >> 8).astype(np.uint8)
    image = to_pillow(Picture(pixels, picture.icc_profile)).resize(size, Image.Resampling.BICUBIC)
    path = path.with_suffix(".webp" if picture.channels in (2, 4) else ".jpg")
    write_image(path, from_pillow(image))
    return path


def read_upload(source: Path) -> Picture:
    """Read an uploaded image; error messages name the file without its folder.

    Raises:
        ImageError: If it cannot be read, with the message of ``lamnet upscale``.
    """
    try:
        return read_image(source)
    except ImageError as error:
        raise ImageError(_without_folders(str(error), source.parent)) from None


def upscale_upload(
    source: Path, folder: Path, upscalers: UpscalerPool, ext: str = "auto", progress: Progress | None = None
) -> Result:
    """Upscale an uploaded image.

    Args:
        source: The file.
        folder: Output folder; the output name is the file's name with the scale as suffix, such as ``_x4``.
        upscalers: Networks to upscale with.
        ext: Output format, such as ``"png"``. ``"auto"``: the file's format, or PNG if that cannot hold the result.
        progress: Called after each tile with the number of tiles done and their total. An exception it raises cancels
            the job.

    Returns:
        The result of the job, which succeeded.

    Raises:
        ImageError: If reading, upscaling or writing fails, with the message of ``lamnet upscale``.
        ValueError: If ``ext`` is invalid.
    """
    suffix = result_extension(source, WRITABLE) if ext == "auto" else f".{ext}"
    if suffix.lower() not in WRITABLE:
        raise ValueError(f"ext must be one of auto, {', '.join(known[1:] for known in WRITABLE)}, got {ext!r}")
    target = folder / f"{source.stem}_x{upscalers.scale}{suffix}"
    (result,) = run_jobs([Job(source, target, allow_png=ext == "auto")], upscalers, progress=progress)
    if result.error:
        raise ImageError(_without_folders(result.error, source.parent, folder))
    return result


def _without_folders(message: str, *folders: Path) -> str:
    for folder in folders:
        message = message.replace(f"{one_line(folder)}{os.sep}", "")
    return message
