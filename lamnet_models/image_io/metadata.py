"""Image metadata: EXIF, XMP, resolution."""

from __future__ import annotations

from PIL import Image

ORIENTATION = 0x0112
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT, _PER_CENTIMETER = 0x011A, 0x011B, 0x0128, 3
EXIF, GPS = 0x8769, 0x8825  # tags of subdirectories
_DESCRIPTIVE = (
    # description, make, model, software, date, artist, copyright
    *(0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298),
    # ratings; Windows title, comment, author, keywords, subject
    *(0x4746, 0x4749, *range(0x9C9B, 0x9CA0)),
)
_WIDTH, _HEIGHT, _INTEROPERABILITY = 0xA002, 0xA003, 0xA005
_FILE_SPECIFIC = (_WIDTH, _HEIGHT, _INTEROPERABILITY)
_EMPTY = 14  # bytes of EXIF data without entries


def exif_of(image: Image.Image) -> Image.Exif:
    """Return an image's EXIF data; empty if damaged."""
    try:
        exif = image.getexif()
        dict(exif)
        return exif
    except Exception:
        return Image.Exif()


def descriptive_exif(exif: Image.Exif) -> bytes | None:
    """Return the descriptive EXIF data: author, date, location, camera.

    Orientation, resolution, thumbnails and tags on pixel storage are dropped.

    Returns:
        EXIF data that begin with a TIFF header; None if no tags remain or the data are damaged.
    """
    kept = Image.Exif()
    try:
        for tag in _DESCRIPTIVE:
            if tag in exif:
                kept[tag] = exif[tag]
        for directory in (EXIF, GPS):
            details = {tag: value for tag, value in exif.get_ifd(directory).items() if tag not in _FILE_SPECIFIC}
            if details:
                kept.get_ifd(directory).update(details)
        data = kept.tobytes().removeprefix(b"Exif\0\0")
        return data if len(data) > _EMPTY else None
    except Exception:  # a value of a type that Pillow reads but cannot write
        return None


def exif_for_size(exif: bytes | None, width: int, height: int, dpi: tuple[float, float] | None = None) -> Image.Exif:
    """Return descriptive EXIF data with the size of an output image.

    Args:
        exif: From ``descriptive_exif``.
        width: Columns of the image.
        height: Rows of the image.
        dpi: Resolution to include, for formats without a field of their own.
    """
    output = Image.Exif()
    if exif:
        output.load(exif)
        if details := output.get_ifd(EXIF):
            details[_WIDTH], details[_HEIGHT] = width, height
    if dpi:
        output[_X_RESOLUTION], output[_Y_RESOLUTION], output[_RESOLUTION_UNIT] = *dpi, 2
    return output


def valid_dpi(dpi: object) -> tuple[float, float] | None:
    """Return a file's resolution as two floats, or None if invalid."""
    try:
        across, down = (float(value) for value in dpi)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e6 and 0 < down < 1e6 else None


def exif_dpi(exif: Image.Exif) -> tuple[float, float] | None:
    """Return the resolution in EXIF data in dpi, or None."""
    dpi = valid_dpi((exif.get(_X_RESOLUTION), exif.get(_Y_RESOLUTION)))
    if dpi and exif.get(_RESOLUTION_UNIT) == _PER_CENTIMETER:
        return dpi[0] * 2.54, dpi[1] * 2.54
    return dpi


def xmp_of(image: Image.Image) -> bytes | None:
    """Return an image's XMP packet, or None."""
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    return packet.encode() if isinstance(packet, str) else packet or None
