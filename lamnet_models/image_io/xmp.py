"""XMP packets: orientation, and removal of statements about the pixels or the file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from xml.dom import XMLNS_NAMESPACE, minidom
from xml.parsers.expat import ExpatError

_MAX_BYTES = 1 << 23  # larger packets are dropped, because their document tree takes many times as much memory
_XML_DECLARATION = re.compile(r"^\s*<\?xml\s[^>]*\?>")
_ORIENTATION = re.compile(rb"""tiff:Orientation\s*(?:=\s*["']|>)\s*([1-8])""")

# Namespace followed by local name. Other TIFF properties than those excepted describe the storage of pixels.
_ABOUT_PIXELS = re.compile(
    r"http://ns\.adobe\.com/tiff/1\.0/(?!(Make|Model|Software|DateTime|Artist|Copyright|ImageDescription)$)"
    r"|http://ns\.adobe\.com/exif/1\.0/(Pixel[XY]Dimension|ComponentsConfiguration|CompressedBitsPerPixel|MakerNote"
    r"|Subject(Area|Location)|FocalPlane|NativeDigest|SpatialFrequencyResponse)"
    r"|http://ns\.adobe\.com/(hdr-gain-map|hdr-metadata)/"
    r"|http://ns\.adobe\.com/photoshop/1\.0/(ColorMode|ICCProfile)$"
    r"|http://ns\.adobe\.com/xap/1\.0/(Thumbnails$|g/img/)"
    r"|http://ns\.adobe\.com/xmp/note/"  # parts of the packet stored elsewhere in the file
    r"|http://ns\.apple\.com/(HDRGainMap|pixeldatainfo|ImageIO)/"
    r"|http://ns\.google\.com/photos/(dd/|1\.0/(audio|container|depthmap|focus|image)/)"
    r"|http://ns\.google\.com/photos/1\.0/camera/(MicroVideo|MotionPhoto|hdrp_makernote|shot_log_data)"
    r"|http://ns\.google\.com/photos/1\.0/panorama/(\w+Pixels|LargestValid\w+)$"
    r"|http://ns\.(oplus|xiaomi|vivo)\.com/"  # embedded videos and depth maps
    r"|http://www\.metadataworkinggroup\.com/schemas/regions/AppliedToDimensions$"
    r"|http://purl\.org/dc/elements/1\.1/format$"
)
_REGIONS = re.compile(
    r"http://www\.metadataworkinggroup\.com/schemas/regions/Regions$|http://ns\.microsoft\.com/photo/1\.2/RegionInfo$"
)


def descriptive_xmp(packet: bytes | None) -> bytes | None:
    """Return an XMP packet without statements about the pixels or the file.

    Removed are orientation, size, storage, thumbnails, gain maps, and media embedded in the file, such as motion
    photos. Kept are statements about the photograph.

    Returns:
        The packet in UTF-8, otherwise unchanged if nothing is removed; None if it is damaged.
    """
    return _without(packet, _ABOUT_PIXELS)


def xmp_without_regions(packet: bytes | None) -> bytes | None:
    """Return an XMP packet without regions such as faces, which have coordinates of the original orientation."""
    return _without(packet, _REGIONS)


def xmp_orientation(packet: bytes | None) -> int | None:
    """Return the orientation in an XMP packet, 1 to 8, or None. It counts only if EXIF data have none, as in Pillow."""
    match = _ORIENTATION.search(packet or b"")
    return int(match[1]) if match else None


def _without(packet: bytes | None, names: re.Pattern[str]) -> bytes | None:
    """Return a packet without the properties whose namespace and local name match."""
    if not packet or len(packet) > _MAX_BYTES:
        return None
    try:
        packet = _to_utf8(packet)
        document = minidom.parseString(packet.strip(b"\0 \r\n\t"))
        if not _remove(document, names):
            return packet
        _remove_unused_prefixes(document)
        return "".join(node.toxml() for node in document.childNodes).encode()
    except (ExpatError, ValueError, RecursionError):
        return None


def _to_utf8(packet: bytes) -> bytes:
    """Return a packet in UTF-8, which JPEG and PNG files require; TIFF files may have UTF-16 and UTF-32."""
    encoding = json.detect_encoding(packet)
    if encoding.startswith("utf-8"):
        return packet
    return _XML_DECLARATION.sub("", packet.decode(encoding)).encode()


def _remove(document: minidom.Document, names: re.Pattern[str]) -> bool:
    removed = False
    for node, owner in _named_nodes(document):
        if node.namespaceURI != XMLNS_NAMESPACE and names.match(f"{node.namespaceURI}{node.localName}"):
            if isinstance(node, minidom.Attr):
                owner.removeAttributeNode(node)
            else:
                owner.removeChild(node)
            removed = True
    return removed


def _remove_unused_prefixes(document: minidom.Document) -> None:
    nodes = list(_named_nodes(document))
    used = {node.prefix for node, _ in nodes}
    for node, owner in nodes:
        if node.prefix == "xmlns" and node.localName not in used:
            owner.removeAttributeNode(node)


def _named_nodes(document: minidom.Document) -> Iterator[tuple[minidom.Element | minidom.Attr, minidom.Node]]:
    """Yield all elements with their parents, and all attributes with their elements."""
    for element in document.getElementsByTagName("*"):
        yield element, element.parentNode
        for attribute in list(element.attributes.values()):
            yield attribute, element
