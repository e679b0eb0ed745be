"""Files of several pictures: animations in, animations out, and likewise the pages of TIFF files."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from ..errors import ImageError
from ..files import atomic_path
from . import png, tiff
from .formats import FRAME_FORMATS
from .limits import check_pixels
from .messages import one_line, reason
from .metadata import ORIENTATION, exif_of
from .picture import Picture
from .pillow import from_pillow, to_pillow
from .reading import animation_length, decoding, detect_format, open_file, open_for_decoding, open_with_pillow

_XMP = 700  # tag of TIFF


@dataclass(frozen=True)
class Frames:
    """The pictures of a file, in their order; they can be gone through once.

    Attributes:
        count: How many there are.
        pictures: The pictures, each decoded when its turn comes. Those of an animation have one size.
        durations: How long each frame of an animation is shown, in milliseconds; empty for pages.
        loop: How often an animation runs; 0 is for ever.
    """

    count: int
    pictures: Iterator[Picture]
    durations: tuple[float, ...] = ()
    loop: int = 0


def frame_count(path: str | os.PathLike) -> int:
    """Returns how many pictures a file holds that belong together: 1 unless it is animated or has pages.

    Raises:
        ImageError: If the file cannot be read.
    """
    with open_for_decoding(path) as file:
        file_format = detect_format(file)
        if file_format == "PNG":
            return png.frame_count(png.small_chunks(file))
        if file_format == "TIFF":
            return tiff.page_count(file)
        return 1 if file_format == "BMP" else animation_length(open_with_pillow(file))


@contextmanager
def open_frames(path: str | os.PathLike, *, max_pixels: int | None = None) -> Iterator[Frames]:
    """Opens an animated GIF, WebP, PNG or AVIF, or a TIFF of several pages, for as long as the block lasts.

    Args:
        path: The file.
        max_pixels: Most pixels that each picture may have, see [`read_image`][lamnet_models.images.read_image].

    Yields:
        Its pictures.

    Raises:
        ImageError: If the file cannot be read; damage that shows later is raised while the pictures are gone through.
    """
    with decoding(path, max_pixels):
        file = open_file(path)
    with file:
        with decoding(path, max_pixels):
            frames = _pages(file) if detect_format(file) == "TIFF" else _animation(file)
        yield replace(frames, pictures=_iterate_frames(frames.pictures, path, max_pixels))


def write_frames(path: str | os.PathLike, frames: Frames, *, quality: int = 95) -> None:
    """Writes pictures into one file, in the format that the extension names: the whole file or none.

    Args:
        path: The file, with an extension of ``FRAME_FORMATS``; an existing one is replaced.
        frames: The pictures; they are taken one after another, and pages are not held.
        quality: 1 to 100, of WebP and AVIF.

    Raises:
        ImageError: If the file cannot be written.
    """
    path = Path(path)
    try:
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            if path.suffix.lower() in (".tif", ".tiff"):
                _write_pages(file, frames)
            else:
                _write_animation(file, path.suffix.lower(), frames, quality)
    except (OSError, ValueError, RuntimeError, StopIteration) as error:
        raise ImageError(f"{one_line(path)}: cannot be written ({reason(error)})") from None


def _iterate_frames(pictures: Iterator[Picture], path: str | os.PathLike, max_pixels: int | None) -> Iterator[Picture]:
    while True:
        with decoding(path, max_pixels):
            picture = next(pictures, None)
        if picture is None:
            return
        yield picture


def _pages(file: io.BufferedReader) -> Frames:
    count = tiff.page_count(file)
    return Frames(count, (tiff.read_tiff(file, page) for page in range(count)))


def _animation(file: io.BufferedReader) -> Frames:
    is_png = detect_format(file) == "PNG"
    file.seek(0)
    image = Image.open(file, formats=("PNG",)) if is_png else open_with_pillow(file)
    check_pixels(*image.size)
    # A PNG may hold a picture for programs that know no animations, before the first frame.
    indices = range(1 if image.info.get("default_image") else 0, getattr(image, "n_frames", 1))
    durations = []
    for index in indices:
        image.seek(index)
        if image.format in ("WEBP", "AVIF"):  # which tell no sooner
            image.load()
        durations.append(float(image.info.get("duration") or 0))
    loop = image.info.get("loop", 1 if image.format == "GIF" else 0)
    return Frames(len(indices), _decode_frames(image, indices), tuple(durations), loop)


def _decode_frames(image: Image.Image, indices: Iterable[int]) -> Iterator[Picture]:
    for index in indices:
        image.seek(index)
        image.load()
        yield from_pillow(image).upright(exif_of(image).get(ORIENTATION))


def _write_pages(file: io.BufferedWriter, frames: Frames) -> None:
    first = next(frames.pictures)
    with tifffile.TiffWriter(file, bigtiff=frames.count * first.pixels.nbytes > 2**31) as writer:
        for picture in chain([first], frames.pictures):
            writer.write(
                picture.pixels,
                photometric="rgb" if picture.channels > 2 else "minisblack",
                planarconfig="contig",
                extrasamples=["unassalpha"] if picture.channels in (2, 4) else None,
                compression="adobe_deflate",
                iccprofile=picture.icc_profile,
                resolution=picture.dpi,
                resolutionunit="inch" if picture.dpi else None,
                extratags=[(_XMP, 1, len(picture.xmp), picture.xmp, True)] if picture.xmp else (),
                metadata=None,
                software=False,
                contiguous=False,
            )


def _write_animation(file: io.BufferedWriter, extension: str, frames: Frames, quality: int) -> None:
    form = FRAME_FORMATS[extension].name
    first = _rgba(next(frames.pictures))
    others = map(_rgba, frames.pictures)
    options: dict[str, object] = {"duration": [round(duration) for duration in frames.durations]}
    if form == "GIF":
        options["disposal"] = 2  # each frame on an empty ground: what was visible before may be transparent now
    elif form == "WEBP":
        options["quality"] = quality
    elif form == "PNG":
        others = list(others)  # Pillow goes through them twice
    if form != "GIF" or frames.loop != 1:  # GIF says once by saying nothing
        options["loop"] = frames.loop
    if form != "GIF":
        options["icc_profile"] = first.info.get("icc_profile")
    first.save(file, form, save_all=True, append_images=others, **options)


def _rgba(picture: Picture) -> Image.Image:
    """Returns a frame in RGB with alpha, 8 bits each: what the frames of an animation have in common."""
    if picture.pixels.dtype == np.uint16:
        picture = picture.with_pixels((picture.pixels // 257).astype(np.uint8))
    return to_pillow(picture).convert("RGBA")
