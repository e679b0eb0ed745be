"""Optional HEIC support by pillow-heif."""

from __future__ import annotations

import importlib.util
import io

from PIL import Image

from ..errors import ImageError

IS_INSTALLED = importlib.util.find_spec("pillow_heif") is not None
"""Whether HEIC files can be read and written."""

MISSING = "HEIC requires pillow-heif: pip install 'lamnet[heic]'"

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_SHARED_BRANDS = (b"mif1", b"msf1")  # also used by AVIF


def formats_for(file: io.BufferedReader) -> tuple[str, ...]:
    """Return ``("HEIF",)`` if a file may be HEIC, after registering the format, else ``()``.

    Raises:
        ImageError: If the file is HEIC and pillow-heif is missing.
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
    """Register the format with Pillow."""
    if "HEIF" not in Image.OPEN:
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
