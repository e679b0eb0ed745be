"""HEIC files, where the package for them is installed."""

from __future__ import annotations

import importlib.util
import io

from PIL import Image

from ..errors import ImageError

IS_INSTALLED = importlib.util.find_spec("pillow_heif") is not None
"""Whether HEIC files can be read and written."""

MISSING = "HEIC needs the package pillow-heif: pip install 'lamnet[heic]'"

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_SHARED_BRANDS = (b"mif1", b"msf1")  # AVIF's too


def formats_for(file: io.BufferedReader) -> tuple[str, ...]:
    """Returns Pillow's name of the format, which it is made to know, if a file may be of it, and nothing otherwise.

    Raises:
        ImageError: If the file is of it and the package for it is missing.
    """
    file.seek(0)
    head = file.read(12)
    if head[4:8] != b"ftyp" or head[8:] not in (*_BRANDS, *_SHARED_BRANDS):
        return ()
    if IS_INSTALLED:
        register()
        return ("HEIF",)
    if head[8:] in _BRANDS:
        raise ImageError(MISSING)
    return ()


def register() -> None:
    """Makes Pillow know the format."""
    if "HEIF" not in Image.OPEN:
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
