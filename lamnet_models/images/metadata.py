"""What a file says about a picture beside its pixels: EXIF data, XMP, resolution."""

from __future__ import annotations

from PIL import Image

ORIENTATION = 0x0112
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT, _PER_CENTIMETER = 0x011A, 0x011B, 0x0128, 3
EXIF, GPS = 0x8769, 0x8825  # tags of directories of their own
_DESCRIPTIVE = (
    *(0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298),  # description, maker, model, software, date, artist, ©
    *(0x4746, 0x4749, *range(0x9C9B, 0x9CA0)),  # ratings, and Windows' title, comment, author, keywords, subject
)
_WIDTH, _HEIGHT, _INTEROPERABILITY = 0xA002, 0xA003, 0xA005
_FILE_SPECIFIC = (_WIDTH, _HEIGHT, _INTEROPERABILITY)
_EMPTY = 14  # bytes of EXIF data with nothing in them


def exif_of(image: Image.Image) -> Image.Exif:
    """Returns an image's EXIF data; none where they are damaged, which is no reason to refuse the picture."""
    try:
        exif = image.getexif()
        dict(exif)
        return exif
    except Exception:
        return Image.Exif()


def descriptive_exif(exif: Image.Exif) -> bytes | None:
    """Returns of EXIF data what describes the picture, whatever becomes of its pixels: who, when, where, with what.

    Orientation, resolution, thumbnails and everything about how the pixels were stored are left out.

    Returns:
        EXIF data that begin with a TIFF header; None if nothing is left, or the data are damaged.
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
    except Exception:  # a type that Pillow's own reading let through
        return None


def exif_for_size(exif: bytes | None, width: int, height: int, dpi: tuple[float, float] | None = None) -> Image.Exif:
    """Returns descriptive EXIF data as they belong into a file of a certain size.

    Args:
        exif: From ``descriptive``.
        width: Columns of the picture.
        height: Rows of the picture.
        dpi: Resolution to state in them, for formats that keep it nowhere else.
    """
    placed = Image.Exif()
    if exif:
        placed.load(exif)
        if details := placed.get_ifd(EXIF):
            details[_WIDTH], details[_HEIGHT] = width, height
    if dpi:
        placed[_X_RESOLUTION], placed[_Y_RESOLUTION], placed[_RESOLUTION_UNIT] = *dpi, 2
    return placed


def valid_dpi(dpi: object) -> tuple[float, float] | None:
    """Returns a resolution as a file states it, or None if it makes no sense."""
    try:
        across, down = (float(value) for value in dpi)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e6 and 0 < down < 1e6 else None


def exif_dpi(exif: Image.Exif) -> tuple[float, float] | None:
    """Returns the resolution that EXIF data state."""
    dpi = valid_dpi((exif.get(_X_RESOLUTION), exif.get(_Y_RESOLUTION)))
    if dpi and exif.get(_RESOLUTION_UNIT) == _PER_CENTIMETER:
        return dpi[0] * 2.54, dpi[1] * 2.54
    return dpi


def xmp_of(image: Image.Image) -> bytes | None:
    """Returns an image's XMP packet."""
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    return packet.encode() if isinstance(packet, str) else packet or None
