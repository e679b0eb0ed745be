"""Metadata of written images: kept, updated or dropped."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps, PngImagePlugin

from lamnet_models.image_io import Picture, read_image, write, write_image
from lamnet_models.image_io.color import png_chunk
from lamnet_models.image_io.frames import Frames, open_frames, write_frames
from lamnet_models.image_io.picture import descriptive_exif, xmp_of
from lamnet_models.image_io.xmp import descriptive_xmp

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
MAKE, ORIENTATION, X_RESOLUTION, EXIF, GPS, TAKEN, WIDTH, HEIGHT = 271, 274, 282, 34665, 34853, 36867, 40962, 40963
ARTIST, COPYRIGHT, LENS = 315, 33432, 42036
EXTENSIONS = [".png", ".jpg", ".webp", ".tif", ".avif", ".heic"]


def exif() -> Image.Exif:
    data = Image.Exif()
    data[MAKE], data[ORIENTATION], data[X_RESOLUTION] = "Camera", 6, 72.0
    data.get_ifd(EXIF).update({TAKEN: "2024:05:06 07:08:09", WIDTH: 32, HEIGHT: 24})
    data.get_ifd(GPS).update({1: "N", 2: (48.0, 8.0, 0.0)})
    return data


@pytest.fixture
def source(tmp_path):
    pixels = np.zeros((24, 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "source.jpg", exif=exif(), xmp=XMP)
    return read_image(tmp_path / "source.jpg")


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_write_keeps_metadata(tmp_path, monkeypatch, source, extension, dtype, large):
    if extension == ".heic":
        pytest.importorskip("pillow_heif")
    if dtype == np.uint16 and extension in (".jpg", ".webp"):
        pytest.skip("8-bit format")
    path = tmp_path / f"a{extension}"
    monkeypatch.setattr(write, "STREAMING_THRESHOLD", 0 if large else 1 << 40)  # large images are written row by row
    write_image(path, source.with_pixels(np.zeros((64, 48, 3), dtype)))
    back = read_image(path)
    assert back.xmp == XMP
    assert back.pixels.shape == (64, 48, 3)
    again = Image.Exif()
    again.load(back.exif)
    assert again[MAKE] == "Camera"
    assert again.get_ifd(EXIF)[TAKEN] == "2024:05:06 07:08:09"
    assert again.get_ifd(GPS)[2] == (48, 8, 0)
    with Image.open(path) as image:
        stored = image.getexif()
        assert stored.get(ORIENTATION, 1) == 1  # orientation is applied to the pixels
        assert (stored.get_ifd(EXIF)[WIDTH], stored.get_ifd(EXIF)[HEIGHT]) == (48, 64)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_write_without_metadata(tmp_path, source, extension, dtype):
    if dtype == np.uint16 and extension in (".jpg", ".webp"):
        pytest.skip("8-bit format")
    if extension == ".heic":
        pytest.importorskip("pillow_heif")
    bare = source.without_metadata()
    assert (bare.exif, bare.xmp) == (None, None)
    write_image(tmp_path / f"a{extension}", bare.with_pixels(bare.pixels.astype(dtype)))
    back = read_image(tmp_path / f"a{extension}")
    assert (back.exif, back.xmp) == (None, None)
    assert b"Camera" not in (tmp_path / f"a{extension}").read_bytes()


def test_write_tiff_exif_is_read_by_tifffile(tmp_path, source):
    pixels = np.random.default_rng(0).integers(0, 65536, (9, 8, 3), np.uint16)
    write_image(tmp_path / "a.tif", source.with_pixels(pixels))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, pixels)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.asarray(), pixels)
        assert file.pages[0].tags["Make"].value == "Camera"


def test_descriptive_exif_without_descriptive_tags():
    assert descriptive_exif(Image.Exif()) is None
    data = Image.Exif()
    data[ORIENTATION] = 3
    assert descriptive_exif(data) is None


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_exif_text_keeps_characters_beyond_ascii(tmp_path, extension):
    if extension == ".heic":
        pytest.importorskip("pillow_heif")
    texts = {COPYRIGHT: "© José".encode(), ARTIST: "José".encode("latin-1"), LENS: "Österreich".encode()}
    # Entries with text placed behind the directories, as Pillow cannot write it.
    first, offset = 8, 8 + 2 + 3 * 12 + 4 + 2 + 12 + 4
    body, entries = b"", {}
    for tag, text in texts.items():
        entries[tag] = struct.pack("<2H2I", tag, 2, len(text) + 1, offset + len(body))
        body += text + b"\0"
    pointer = struct.pack("<2H2I", EXIF, 4, 1, first + 2 + 3 * 12 + 4)
    data = b"II*\0" + struct.pack("<IH", first, 3) + entries[ARTIST] + entries[COPYRIGHT] + pointer + bytes(4)
    data += struct.pack("<H", 1) + entries[LENS] + bytes(4) + body
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + data)
    write_image(tmp_path / f"b{extension}", read_image(tmp_path / "a.jpg"))
    content = (tmp_path / f"b{extension}").read_bytes()
    assert all(text + b"\0" in content for text in texts.values())


def test_write_jpeg_drops_large_exif(tmp_path):
    data = exif()
    data[MAKE] = "x" * 70_000
    write_image(tmp_path / "a.jpg", Picture(np.zeros((4, 4, 3), np.uint8), exif=descriptive_exif(data)))
    assert read_image(tmp_path / "a.jpg").exif is None


def test_write_jpeg_drops_large_xmp(tmp_path):
    write_image(tmp_path / "a.jpg", Picture(np.zeros((4, 4, 3), np.uint8), xmp=b"x" * 70_000))
    assert read_image(tmp_path / "a.jpg").xmp is None


def test_read_damaged_exif(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(file, "JPEG", exif=exif())
    data = bytearray(file.getvalue())
    start = data.index(b"Camera") - 60
    data[start : start + 50] = b"\xff" * 50
    (tmp_path / "a.jpg").write_bytes(data)
    assert read_image(tmp_path / "a.jpg").pixels.shape == (4, 4, 3)


def profile_text(kind, data):
    text = f"\n{kind}\n{len(data):8}\n{data.hex()}\n".encode()
    return png_chunk(b"zTXt", f"Raw profile type {kind}".encode() + b"\0\0" + zlib.compress(text))


@pytest.mark.parametrize("at_end", [False, True], ids=["before pixels", "after pixels"])
@pytest.mark.parametrize("kind", ["chunk", "compressed", "hexadecimal"])
def test_png_metadata_as_in_pillow(tmp_path, kind, at_end):
    file = io.BytesIO()
    Image.new("RGB", (32, 24)).save(file, "PNG")
    data, tags = file.getvalue(), exif().tobytes()
    chunks = png_chunk(b"eXIf", tags.removeprefix(b"Exif\0\0")) + png_chunk(
        b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP
    )
    if kind == "compressed":
        chunks = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP))
    elif kind == "hexadecimal":
        chunks = profile_text("exif", tags) + profile_text("xmp", XMP)
    start = len(data) - 12 if at_end else 33
    (tmp_path / "a.png").write_bytes(data[:start] + chunks + data[start:])
    picture = read_image(tmp_path / "a.png")
    assert picture.xmp == XMP
    assert (b"Camera" in (picture.exif or b"")) == (kind != "compressed")
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert ImageOps.exif_transpose(image).size == (picture.width, picture.height)


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40),
        png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 3\nxyz")),
        png_chunk(b"zTXt", b"Raw profile type exif\0\0" + b"\xff" * 9),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp"),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(1 << 25))),
    ],
)
def test_png_metadata_damaged(tmp_path, chunk):
    file = io.BytesIO()
    Image.new("RGB", (32, 24)).save(file, "PNG")
    (tmp_path / "a.png").write_bytes(file.getvalue()[:33] + chunk + file.getvalue()[33:])
    picture = read_image(tmp_path / "a.png")
    assert (picture.exif, picture.xmp) == (None, None)


# Statements about the pixels or the file


def packet(attributes: str = "", elements: str = "") -> bytes:
    namespaces = {
        "tiff": "http://ns.adobe.com/tiff/1.0/",
        "exif": "http://ns.adobe.com/exif/1.0/",
        "dc": "http://purl.org/dc/elements/1.1/",
        "xmp": "http://ns.adobe.com/xap/1.0/",
        "GCamera": "http://ns.google.com/photos/1.0/camera/",
        "Container": "http://ns.google.com/photos/1.0/container/",
        "Item": "http://ns.google.com/photos/1.0/container/item/",
        "GPano": "http://ns.google.com/photos/1.0/panorama/",
        "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
        "apple": "http://ns.apple.com/HDRGainMap/1.0/",
        "xmpNote": "http://ns.adobe.com/xmp/note/",
        "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
        "stDim": "http://ns.adobe.com/xap/1.0/sType/Dimensions#",
    }
    declarations = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in namespaces.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {declarations} tiff:Make="Camera" xmp:Rating="5" {attributes}>{elements}'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


@pytest.mark.parametrize(
    ("attributes", "elements"),
    [
        ('tiff:Orientation="6"', ""),
        ("tiff:Orientation = '6'", ""),
        ("", "<tiff:Orientation> 6 </tiff:Orientation>"),
        ('tiff:ImageWidth="32" tiff:ImageLength="24" tiff:XResolution="72/1"', ""),
        ('exif:PixelXDimension="32"', "<exif:PixelYDimension>24</exif:PixelYDimension>"),
        ('GCamera:MicroVideo="1" GCamera:MicroVideoOffset="123"', "<GCamera:MotionPhoto>1</GCamera:MotionPhoto>"),
        ("", '<Container:Directory><rdf:Seq><rdf:li Item:Length="9"/></rdf:Seq></Container:Directory>'),
        ('hdrgm:Version="1.0"', "<apple:HDRGainMapVersion>131072</apple:HDRGainMapVersion>"),
        ('xmpNote:HasExtendedXMP="0123"', "<xmp:Thumbnails><rdf:Alt/></xmp:Thumbnails>"),
        ('dc:format="image/jpeg" GPano:FullPanoWidthPixels="64"', ""),
    ],
)
def test_descriptive_xmp_without_statements_on_pixels(attributes, elements):
    kept = packet('GPano:ProjectionType="equirectangular"', "<dc:title>6</dc:title>")
    assert descriptive_xmp(kept) == kept
    cleaned = descriptive_xmp(
        packet(f'GPano:ProjectionType="equirectangular" {attributes}', f"<dc:title>6</dc:title>{elements}")
    )
    for name in re.findall(
        r"\b(tiff|exif|GCamera|Container|Item|hdrgm|apple|xmpNote|dc|GPano|xmp):(\w+)", attributes + elements
    ):
        assert ":".join(name).encode() not in cleaned
    for text in (
        b'tiff:Make="Camera"',
        b'xmp:Rating="5"',
        b"<dc:title>6</dc:title>",
        b"ProjectionType",
        b"<?xpacket end",
    ):
        assert text in cleaned
    for prefix in (b"hdrgm", b"Container", b"apple"):
        assert prefix not in cleaned


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("declaration", ["", '<?xml version="1.0" encoding="UTF-16"?>'])
def test_xmp_becomes_utf8(tmp_path, encoding, declaration):
    declaration = declaration if encoding.startswith("utf-16") else ""
    kept, removed = (packet(text, "<dc:title>Blå</dc:title>").decode() for text in ("", 'tiff:Orientation="6"'))
    for text in (kept, removed):
        data = (declaration + text + "\n  ").encode(encoding)
        tags = [(700, 1, len(data), data, True)]
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5, 3), np.uint8), extratags=tags, metadata=None)
        picture = read_image(tmp_path / "a.tif")
        assert "<dc:title>Blå</dc:title>" in picture.xmp.decode()
        assert b"Orientation" not in picture.xmp
        for name in ("b.png", "b.jpg", "b.tif"):
            write_image(tmp_path / name, picture)
            assert "Blå" in read_image(tmp_path / name).xmp.decode()


def test_descriptive_xmp_damaged():
    assert descriptive_xmp(b"\xff\xfe<\0x") is None
    assert descriptive_xmp(b"<x:xmpmeta tiff:Orientation='6'") is None
    assert descriptive_xmp(b"<a>" * 5000 + b"</a>" * 5000) in (None, b"<a>" * 5000 + b"</a>" * 5000)


@pytest.mark.parametrize("in_exif", [None, 1, 6])
@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_xmp_orientation_as_in_pillow(tmp_path, extension, in_exif):
    pixels = np.zeros((24, 32, 3), np.uint8)
    pixels[:12, :16] = 255
    exif, options = Image.Exif(), {"xmp": packet('tiff:Orientation="6"')}
    if in_exif:
        exif[ORIENTATION] = in_exif
    if extension == ".png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode())
        options["pnginfo"] = info
    elif extension == ".tif":
        options = {"tiffinfo": {700: options["xmp"]} | ({ORIENTATION: in_exif} if in_exif else {})}
    Image.fromarray(pixels).save(tmp_path / f"a{extension}", exif=exif, **options)
    with Image.open(tmp_path / f"a{extension}") as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    picture = read_image(tmp_path / f"a{extension}")
    assert np.abs(picture.pixels.astype(int) - expected).max() < 40
    assert picture.pixels.shape == expected.shape
    write_image(tmp_path / f"b{extension}", picture)
    np.testing.assert_array_equal(read_image(tmp_path / f"b{extension}").pixels.shape, expected.shape)
    with Image.open(tmp_path / f"b{extension}") as image:
        assert ImageOps.exif_transpose(image).size == image.size
        assert b"Orientation" not in xmp_of(image)


def test_xmp_regions_kept_unless_rotated(tmp_path):
    regions = (
        '<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:AppliedToDimensions stDim:w="32" stDim:h="24"/>'
        "<mwg-rs:RegionList><rdf:Bag/></mwg-rs:RegionList></mwg-rs:Regions>"
    )
    for orientation in (1, 6):
        xmp = packet(f'tiff:Orientation="{orientation}"', regions)
        Image.new("RGB", (32, 24)).save(tmp_path / "a.jpg", xmp=xmp)
        kept = read_image(tmp_path / "a.jpg").xmp
        assert (b"RegionList" in kept) == (orientation == 1)
        assert b"AppliedToDimensions" not in kept


def test_exif_of_storage_dropped(tmp_path):
    data = exif()
    stored = {0x9214: (16, 12, 4, 4), 0x927C: b"Apple iOS\0\0\1MM", 0xA20E: 100.0, 0x9101: b"\1\2\3\0"}
    data.get_ifd(EXIF).update(stored)
    Image.new("RGB", (32, 24)).save(tmp_path / "a.jpg", exif=data)
    kept = Image.Exif()
    kept.load(read_image(tmp_path / "a.jpg").exif)
    assert kept.get_ifd(EXIF)[TAKEN]
    assert not set(stored) & set(kept.get_ifd(EXIF))


@pytest.mark.parametrize("kind", ["ome", "imagej", "shaped"])
@pytest.mark.parametrize("extension", [".tif", ".png"])
def test_structural_description_dropped(tmp_path, kind, extension):
    pixels = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    options = {"ome": {"ome": True}, "imagej": {"imagej": True}, "shaped": {"metadata": {"author": "me"}}}[kind]
    tifffile.imwrite(tmp_path / f"a.{kind}.tif", pixels, photometric="rgb", **options)
    picture = read_image(tmp_path / f"a.{kind}.tif")
    assert picture.exif is None or all(word not in picture.exif for word in (b"OME", b"ImageJ=", b"shape"))
    write_image(tmp_path / f"b{extension}", picture.with_pixels(picture.pixels.repeat(2, 0).repeat(2, 1)))
    if extension == ".tif":
        assert tifffile.imread(tmp_path / "b.tif").shape == (24, 32, 3)


def test_plain_description_kept(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), np.uint8), description="A shape by the sea", metadata=None)
    assert b"A shape by the sea" in read_image(tmp_path / "a.tif").exif


def test_metadata_of_shared_cases(shared):
    picture = read_image(shared / "cases" / "xmp_orientation6.jpg")
    assert picture.pixels.shape == (36, 24, 3)
    assert b"Orientation" not in picture.xmp
    assert b"SizeX" not in (read_image(shared / "cases" / "cell.ome.tif").exif or b"")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_resolution_round_trip(tmp_path, extension, dtype):
    if dtype == np.uint16 and extension in (".jpg", ".webp"):
        pytest.skip("8-bit format")
    if extension == ".heic":
        pytest.importorskip("pillow_heif")
    write_image(tmp_path / f"b{extension}", Picture(np.zeros((24, 32, 3), dtype), exif=descriptive_exif(exif())))
    assert read_image(tmp_path / f"b{extension}").dpi is None
    write_image(tmp_path / f"a{extension}", Picture(np.zeros((24, 32, 3), dtype), dpi=(300.0, 150.0)))
    assert read_image(tmp_path / f"a{extension}").dpi == pytest.approx((300, 150), abs=0.02)


@pytest.mark.parametrize("dpi", [(254_000.0, 254_000.0), (0.3, 0.3)])
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_write_jpeg_resolution_beyond_its_header(tmp_path, monkeypatch, large, dpi):
    monkeypatch.setattr(write, "STREAMING_THRESHOLD", 0 if large else 1 << 40)
    write_image(tmp_path / "a.jpg", Picture(np.zeros((4, 4, 3), np.uint8), dpi=dpi))
    assert read_image(tmp_path / "a.jpg").dpi == pytest.approx(dpi)


@pytest.mark.parametrize("extension", [".webp", ".png", ".tif", ".gif"])
def test_frames_keep_metadata(tmp_path, source, extension):
    frames = [source.with_pixels(np.full((48, 36, 3), value, np.uint8)) for value in (50, 90)]
    write_frames(tmp_path / f"a{extension}", Frames(2, iter(frames), (100, 100)))
    with open_frames(tmp_path / f"a{extension}") as back:
        first, last = back.pictures
    assert [frame.pixels.shape[:2] for frame in (first, last)] == [(48, 36)] * 2
    if extension == ".gif":
        return
    assert first.xmp == XMP
    found = Image.Exif()
    found.load(first.exif)
    assert found[MAKE] == "Camera"
    assert found.get_ifd(GPS)[2] == (48, 8, 0)
    bare = [frame.without_metadata() for frame in frames]
    write_frames(tmp_path / f"b{extension}", Frames(2, iter(bare), (100, 100)))
    assert b"Camera" not in (tmp_path / f"b{extension}").read_bytes()
