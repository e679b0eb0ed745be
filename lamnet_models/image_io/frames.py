"""Reading and writing of animations and multi-page TIFF files."""

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

from ..errors import ImageError, error_reason, one_line
from ..filesystem import atomic_path
from .color import ColorSignals, color_tags, png_color_chunks, signals_from_png
from .formats import FRAME_FORMATS
from .picture import ORIENTATION, Picture, exif_for, exif_of, from_pillow, to_pillow
from .read import (
    animation_length,
    check_pixels,
    decoding,
    detect_format,
    heif_signals,
    open_file,
    open_for_decoding,
    open_with_pillow,
    png_frame_count,
    read_pnm,
    read_tiff,
    small_png_chunks,
    tiff_pages,
)
from .write import add_png_chunks, add_tiff_exif, convert_to_srgb, png_xmp, with_color_profile

_XMP, _BYTE = 700, 1  # TIFF tag and type
_PAGE_FORMATS = (".tif", ".tiff")


@dataclass(frozen=True)
class Frames:
    """The frames or pages of a file, in order; can be iterated once.

    Attributes:
        count: Number of frames or pages.
        pictures: Lazily decoded pictures. Frames of an animation have one size.
        durations: Duration of each animation frame in milliseconds; empty for pages.
        loop: Number of loops of an animation; 0 for infinite.
    """

    count: int
    pictures: Iterator[Picture]
    durations: tuple[float, ...] = ()
    loop: int = 0


def frame_count(path: str | os.PathLike, *, max_pixels: int | None = None) -> int:
    """Return the number of frames or pages of a file, 1 for a single image.

    Args:
        path: The file.
        max_pixels: Maximum number of pixels per frame; see [`read_image`][lamnet_models.image_io.read_image].

    Raises:
        ImageError: If the file cannot be read.
    """
    with open_for_decoding(path, max_pixels) as file:
        file_format = detect_format(file)
        if file_format == "PNG":
            return png_frame_count(file)
        if file_format == "TIFF":
            return len(tiff_pages(file))
        if file_format == "PNM":
            return 1
        return animation_length(open_with_pillow(file))


@contextmanager
def open_frames(path: str | os.PathLike, *, max_pixels: int | None = None) -> Iterator[Frames]:
    """Open an animated GIF, WebP, PNG or AVIF, or a multi-page TIFF, as a context manager.

    Args:
        path: The file.
        max_pixels: Maximum number of pixels per frame; see [`read_image`][lamnet_models.image_io.read_image].

    Yields:
        The frames.

    Raises:
        ImageError: If the file cannot be read; damage found later is raised during iteration.
    """
    with decoding(path, max_pixels):
        file = open_file(path)
    with file:
        with decoding(path, max_pixels):
            frames = _pages(file) if detect_format(file) == "TIFF" else _animation(file)
        yield replace(frames, pictures=_iterate_frames(frames.pictures, path, max_pixels))


def write_frames(path: str | os.PathLike, frames: Frames, *, quality: int = 95) -> None:
    """Write frames atomically to one file, in the format given by the extension.

    Colors are kept as by [`write_image`][lamnet_models.image_io.write_image]. EXIF data and XMP are those of the first
    frame; pages keep their own XMP. GIF has neither.

    Args:
        path: The file, with an extension of ``FRAME_FORMATS``; an existing file is replaced.
        frames: The frames; consumed one by one, pages without being held in memory.
        quality: Quality of WebP and AVIF, 1 to 100.

    Raises:
        ImageError: If the file cannot be written.
    """
    path = Path(path)
    check_pages(path, frames)
    frames = replace(frames, pictures=_refuse_hdr(frames.pictures, path))
    try:
        with atomic_path(path) as temporary, open(temporary, "w+b") as file:
            if path.suffix.lower() in _PAGE_FORMATS:
                _write_pages(file, frames)
            else:
                _write_animation(file, path.suffix.lower(), frames, quality)
    except (OSError, ValueError, RuntimeError, StopIteration) as error:
        raise ImageError(f"{one_line(path)}: cannot write ({error_reason(error)})") from None


def check_pages(path: Path, frames: Frames) -> None:
    """Raise ImageError if frames are pages, and the format is one of animations."""
    if not frames.durations and path.suffix.lower() not in _PAGE_FORMATS:
        raise ImageError(f"{one_line(path)}: pages must be written as TIFF; choose another format, such as tiff")


def _refuse_hdr(pictures: Iterator[Picture], path: Path) -> Iterator[Picture]:
    form = FRAME_FORMATS[path.suffix.lower()]
    for picture in pictures:
        if picture.color.hdr and not form.hdr:
            raise ImageError(f"{one_line(path)}: {form.name} does not support HDR colors ({picture.color.hdr})")
        yield picture


def _iterate_frames(pictures: Iterator[Picture], path: str | os.PathLike, max_pixels: int | None) -> Iterator[Picture]:
    while True:
        with decoding(path, max_pixels):
            picture = next(pictures, None)
        if picture is None:
            return
        yield picture


def _pages(file: io.BufferedReader) -> Frames:
    pages = tiff_pages(file)
    return Frames(len(pages), (read_tiff(file, page) for page in pages))


def _animation(file: io.BufferedReader) -> Frames:
    file_format = detect_format(file)
    if file_format == "PNM":
        return Frames(1, iter([read_pnm(file)]))
    is_png = file_format == "PNG"
    color = signals_from_png(small_png_chunks(file)) if is_png else None
    file.seek(0)
    image = Image.open(file, formats=("PNG",)) if is_png else open_with_pillow(file)
    check_pixels(*image.size)
    if image.format == "AVIF":
        color = heif_signals(file, image.info.get("icc_profile"))
    # An APNG may have a default image before the first frame.
    indices = range(1 if image.info.get("default_image") else 0, getattr(image, "n_frames", 1))
    durations = []
    for index in indices:
        image.seek(index)
        if image.format in ("WEBP", "AVIF"):  # duration is set by load()
            image.load()
        durations.append(float(image.info.get("duration") or 0))
    loop = image.info.get("loop", 1 if image.format == "GIF" else 0)
    return Frames(len(indices), _decode_frames(image, indices, color), tuple(durations), loop)


def _decode_frames(image: Image.Image, indices: Iterable[int], color: ColorSignals | None) -> Iterator[Picture]:
    for index in indices:
        image.seek(index)
        image.load()
        picture = from_pillow(image).upright(exif_of(image).get(ORIENTATION))
        yield picture if color is None else replace(picture, color=color)


def _write_pages(file: io.BufferedWriter, frames: Frames) -> None:
    first = next(frames.pictures)
    with tifffile.TiffWriter(file, bigtiff=frames.count * first.pixels.nbytes > 2**31) as writer:
        for picture in chain([first], frames.pictures):
            picture = with_color_profile(picture, "TIFF")
            is_gray = picture.channels == 1
            writer.write(
                picture.pixels[..., 0] if is_gray else picture.pixels,
                photometric="rgb" if picture.channels > 2 else "minisblack",
                planarconfig=None if is_gray else "contig",
                extrasamples=["unassalpha"] if picture.channels in (2, 4) else None,
                compression="adobe_deflate",
                iccprofile=picture.icc_profile,
                resolution=picture.dpi,
                resolutionunit="inch" if picture.dpi else None,
                extratags=_extra_tags(picture),
                metadata=None,
                software=False,
                contiguous=False,
            )
    if exif := exif_for(first, "TIFF"):
        add_tiff_exif(file, exif)


def _extra_tags(picture: Picture) -> list[tuple]:
    """Return XMP and color signals as tifffile's tags."""
    tags: list[tuple] = [(_XMP, _BYTE, len(picture.xmp), picture.xmp, True)] if picture.xmp else []
    return tags + color_tags(picture.color, 8 * picture.pixels.dtype.itemsize)


def _write_animation(file: io.BufferedWriter, extension: str, frames: Frames, quality: int) -> None:
    form = FRAME_FORMATS[extension].name
    picture = next(frames.pictures)
    first = _rgba(picture, form)
    others = (_rgba(frame, form) for frame in frames.pictures)
    unit = 10 if form == "GIF" else 1  # milliseconds
    ends = np.rint(np.cumsum((0, *frames.durations)) / unit) * unit  # so that rounding errors do not add up
    options: dict[str, object] = {"duration": np.diff(ends).astype(int).tolist()}
    if form == "GIF":
        options["disposal"] = 2  # clear each frame: visible pixels may become transparent in the next one
    elif form == "WEBP":
        options["quality"] = quality
    elif form == "PNG":
        others = list(others)  # Pillow iterates twice
    if form != "GIF" or frames.loop != 1:  # a GIF without the field is played once
        options["loop"] = frames.loop
    if form != "GIF":
        options |= {"icc_profile": first.info.get("icc_profile"), "exif": exif_for(picture, form)}
    if form == "PNG" and picture.dpi:
        options["dpi"] = picture.dpi
    if form != "GIF" and picture.xmp:
        options |= {"xmp": picture.xmp} if form == "WEBP" else {"pnginfo": png_xmp(picture.xmp)}
    first.save(file, form, save_all=True, append_images=others, **options)
    if form == "PNG":
        add_png_chunks(file, png_color_chunks(picture.color, picture.icc_profile is not None))


def _rgba(picture: Picture, form: str) -> Image.Image:
    """Return a frame as 8-bit RGBA, the common mode of animation frames; GIF has no ICC profiles."""
    picture = with_color_profile(picture, form)
    if form == "GIF" or picture.channels < 3:
        picture = convert_to_srgb(picture)
    if picture.pixels.dtype == np.uint16:
        picture = picture.with_pixels(((picture.pixels + np.uint32(128)) // 257).astype(np.uint8))
    return to_pillow(picture).convert("RGBA")
