"""Color signaling other than ICC profiles: kept, or dropped with a warning."""

import struct

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from lamnet_models.errors import ImageError
from lamnet_models.image_io import Picture, read_image, write, write_image
from lamnet_models.image_io.color import ColorSignals, nclx_offset, png_chunk
from lamnet_models.image_io.frames import open_frames, write_frames
from lamnet_models.image_io.write import dropped_color

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
CHUNKS = {
    b"cICP": bytes((9, 16, 0, 1)),
    b"gAMA": struct.pack(">I", 100_000),
    b"cHRM": struct.pack(">8I", *(round(100_000 * value) for value in P3)),
    b"sRGB": b"\1",
}
TABLE = tuple(257 * value for value in range(256))


def pixels(dtype=np.uint8, channels=3):
    y, x = np.mgrid[:24, :32]
    image = np.stack((x * 5 + 20, y * 7 + 30, (x + y) * 3 + 40, 255 - x)[:channels], axis=2)
    return (image * (1 if dtype == np.uint8 else 257)).astype(dtype)


def add_chunks(path, *names):
    data = path.read_bytes()
    path.write_bytes(data[:33] + b"".join(png_chunk(name, CHUNKS[name]) for name in names) + data[33:])


def chunks_of(path):
    data, at, found = path.read_bytes(), 8, {}
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        found.setdefault(kind, data[at + 8 : at + 8 + length])
        at += 12 + length
    return found


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("names", [[name] for name in CHUNKS] + [[b"gAMA", b"cHRM"], list(CHUNKS)])
def test_png_keeps_chunks(tmp_path, monkeypatch, names, dtype, large):
    monkeypatch.setattr(write, "STREAMING_THRESHOLD", 0 if large else 1 << 40)
    write_image(tmp_path / "a.png", Picture(pixels(dtype)))
    add_chunks(tmp_path / "a.png", *names)
    picture = read_image(tmp_path / "a.png")
    assert dropped_color(".png", picture) is None
    write_image(tmp_path / "b.png", picture)
    found = chunks_of(tmp_path / "b.png")
    assert {name: found[name] for name in CHUNKS if name in found} == {name: CHUNKS[name] for name in names}
    np.testing.assert_array_equal(read_image(tmp_path / "b.png").pixels, pixels(dtype))
    with Image.open(tmp_path / "b.png") as image:
        image.load()


@pytest.mark.parametrize("extension", [".jpg", ".webp", ".tif", ".bmp", ".avif", ".heic"])
def test_dropped_color_names_png_signals(tmp_path, extension):
    write_image(tmp_path / "a.png", Picture(pixels()))
    assert dropped_color(extension, read_image(tmp_path / "a.png")) is None
    add_chunks(tmp_path / "a.png", b"gAMA", b"cHRM")
    picture = read_image(tmp_path / "a.png")
    note = dropped_color(extension, picture)
    assert "gamma, chromaticities" in note or extension == ".tif"
    assert "gamma" in note
    assert "\n" not in note
    with_profile = Picture(pixels(), SRGB, color=picture.color)
    assert dropped_color(extension, with_profile) is None


@pytest.mark.parametrize(
    "color",
    [
        ColorSignals(),
        ColorSignals((1, 13)),
        ColorSignals(srgb_intent=0, gamma=0.45455),
        ColorSignals(gamma=0.45455, white_point=(0.3127, 0.329), primaries=(0.64, 0.33, 0.3, 0.6, 0.15, 0.06)),
    ],
)
@pytest.mark.parametrize("extension", [".jpg", ".webp", ".tif", ".bmp", ".avif", ".gif"])
def test_dropped_color_of_srgb_is_silent(color, extension):
    assert dropped_color(extension, Picture(pixels(), color=color)) is None


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("extension", [".avif", ".heic", ".png"])
@pytest.mark.parametrize("code_points", [(9, 16), (9, 18), (12, 13)])
def test_code_points_round_trip(tmp_path, extension, code_points, channels):
    if extension == ".heic":
        pytest.importorskip("pillow_heif")
    picture = Picture(pixels(channels=channels), SRGB if channels > 1 else None, color=ColorSignals(code_points))
    write_image(tmp_path / f"a{extension}", picture)
    back = read_image(tmp_path / f"a{extension}")
    assert back.color.code_points == code_points
    assert (back.icc_profile is None) == (extension != ".png" or channels == 1)  # a profile would take precedence
    assert np.abs(back.pixels[..., :1].astype(int) - pixels(channels=1)).max() < 12
    data = (tmp_path / f"a{extension}").read_bytes()
    assert extension == ".png" or struct.unpack_from(">2H", data, nclx_offset(data)) == code_points


@pytest.mark.parametrize("extension", [".jpg", ".webp", ".tif", ".bmp"])
def test_hdr_refused_by_formats_without_code_points(tmp_path, extension):
    for transfer, name in ((16, "PQ"), (18, "HLG")):
        with pytest.raises(ImageError, match=rf"HDR colors \({name}\)"):
            write_image(tmp_path / f"a{extension}", Picture(pixels(), color=ColorSignals((9, transfer))))


@pytest.mark.parametrize(("extension", "dtype"), [(".tif", np.uint8), (".tif", np.uint16), (".jpg", np.uint8)])
def test_color_tags_round_trip(tmp_path, extension, dtype):
    table = TABLE if dtype == np.uint8 else tuple(range(65536))
    color = ColorSignals(white_point=P3[:2], primaries=P3[2:], transfer_function=table)
    write_image(tmp_path / f"a{extension}", Picture(pixels(dtype), color=color))
    back = read_image(tmp_path / f"a{extension}").without_metadata()
    assert back.color.white_point == pytest.approx(P3[:2], abs=1e-5)
    assert back.color.primaries == pytest.approx(P3[2:], abs=1e-5)
    assert back.color.transfer_function == table
    assert dropped_color(extension, back) is None
    assert "transfer function" in dropped_color(".png", back)
    if extension == ".tif":
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            assert len(file.pages[0].tags["TransferFunction"].value) == len(table)
    if dtype == np.uint8:
        write_image(tmp_path / "b.png", back)
        assert chunks_of(tmp_path / "b.png")[b"cHRM"] == CHUNKS[b"cHRM"]


def test_tiff_transfer_function_of_three_channels(tmp_path):
    tags = [(301, "H", 768, TABLE * 3, True)]
    tifffile.imwrite(tmp_path / "a.tif", pixels(), photometric="rgb", extratags=tags, metadata=None)
    assert read_image(tmp_path / "a.tif").color.transfer_function == TABLE * 3


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_adobe_rgb_of_exif(tmp_path, monkeypatch, large):
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0xA001: 65535, 0xA005: {1: "R03", 2: b"0100", 0x1001: 32}})
    Image.fromarray(pixels()).save(tmp_path / "a.jpg", exif=exif)
    picture = read_image(tmp_path / "a.jpg").without_metadata()
    monkeypatch.setattr(write, "STREAMING_THRESHOLD", 0 if large else 1 << 40)
    for extension in (".jpg", ".webp"):
        write_image(tmp_path / f"b{extension}", picture)
        assert read_image(tmp_path / f"b{extension}").color.adobe_rgb
        assert dropped_color(extension, picture) is None
        with Image.open(tmp_path / f"b{extension}") as image:
            assert 0x1001 not in image.getexif().get_ifd(0xA005)  # the width of the original
    for extension in (".png", ".tif", ".bmp", ".avif"):
        write_image(tmp_path / f"b{extension}", picture)
        assert "Adobe RGB" in dropped_color(extension, picture)


def test_pages_keep_color_tags(tmp_path):
    color = ColorSignals(white_point=P3[:2], primaries=P3[2:], transfer_function=TABLE)
    write_image(tmp_path / "a.tif", Picture(pixels(), color=color))
    with open_frames(tmp_path / "a.tif") as frames:
        write_frames(tmp_path / "b.tif", frames)
    assert read_image(tmp_path / "b.tif").color == read_image(tmp_path / "a.tif").color != ColorSignals()


def test_animated_png_keeps_chunks(tmp_path):
    images = [Image.fromarray(pixels() + value) for value in (0, 9)]
    images[0].save(tmp_path / "a.png", save_all=True, append_images=images[1:])
    add_chunks(tmp_path / "a.png", *CHUNKS)
    with open_frames(tmp_path / "a.png") as frames:
        write_frames(tmp_path / "b.png", frames)
    assert CHUNKS.items() <= chunks_of(tmp_path / "b.png").items()
    with Image.open(tmp_path / "b.png") as image:
        assert image.n_frames == 2


@pytest.mark.parametrize("code_points", [(2, 2), (300, 1)])
def test_code_points_unspecified_or_invalid(tmp_path, code_points):
    write_image(tmp_path / "a.avif", Picture(pixels()))
    data = bytearray((tmp_path / "a.avif").read_bytes())
    struct.pack_into(">2H", data, nclx_offset(bytes(data)), *code_points)
    (tmp_path / "a.avif").write_bytes(data)
    assert read_image(tmp_path / "a.avif").color == ColorSignals()


def test_nclx_offset_damaged():
    data = b"\0\0\0\x0cftypavif" + struct.pack(">I4sI", 40, b"meta", 0) + struct.pack(">I4s", 28, b"iprp") + bytes(20)
    assert nclx_offset(data) is None
    assert nclx_offset(b"") is None


@pytest.mark.parametrize(
    ("name", "code_points", "gamma"),
    [
        ("pq_cicp16.png", (9, 16), None),
        ("gama_p3_cicp.png", (12, 13), None),
        ("gama1.png", None, 1.0),
        ("pq_hdr.avif", (9, 16), None),
        ("pq_hdr.heic", (9, 16), None),
    ],
)
def test_color_of_shared_cases(shared, tmp_path, name, code_points, gamma):
    if name.endswith(".heic"):
        pytest.importorskip("pillow_heif")
    picture = read_image(shared / "cases" / name)
    assert (picture.color.code_points, picture.color.gamma) == (code_points, gamma)
    write_image(tmp_path / name, picture)
    assert read_image(tmp_path / name).color == picture.color
