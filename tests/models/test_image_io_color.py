"""Color signaling other than ICC profiles: kept, or dropped with a warning."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from lamnet_models.errors import ImageError
from lamnet_models.image_io import Picture, read_image, write, write_image
from lamnet_models.image_io.color import ColorSignals, png_chunk
from lamnet_models.image_io.frames import Frames, open_frames, write_frames
from lamnet_models.image_io.heif import nclx_offset, signals_from_heif
from lamnet_models.image_io.streams import HEVCHeader
from lamnet_models.image_io.vips import to_srgb
from lamnet_models.image_io.write import dropped_color

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
CHUNKS = {
    b"cICP": bytes((9, 16, 0, 1)),
    b"gAMA": struct.pack(">I", 100_000),
    b"cHRM": struct.pack(">8I", *(round(100_000 * value) for value in P3)),
    b"sRGB": b"\1",
    b"mDCV": struct.pack(">8H2I", 34000, 16000, 13250, 34500, 7500, 3000, 15635, 16450, 10**7, 50),
    b"cLLI": struct.pack(">2I", 10**7, 4 * 10**6),
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


LIGHT = {"gamma": 1.0, "P3": 2.4, "table": 2.0, "Adobe RGB": 563 / 256, "code points": 2.2}  # exponents
SIGNALS = {
    "gamma": ColorSignals(gamma=1.0),
    "P3": ColorSignals(gamma=1 / 2.4, white_point=P3[:2], primaries=P3[2:]),
    "table": ColorSignals(transfer_function=tuple(round(65535 * (v / 255) ** 2) for v in range(256))),
    "Adobe RGB": ColorSignals(adobe_rgb=True),
    "code points": ColorSignals((5, 4)),
}
TO_XYZ = {  # rows of linear RGB to XYZ, from published tables
    "sRGB": [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]],
    "P3": [[0.4866, 0.2657, 0.1982], [0.2290, 0.6917, 0.0793], [0.0, 0.0451, 1.0439]],
    "Adobe RGB": [[0.5767, 0.1856, 0.1882], [0.2973, 0.6274, 0.0753], [0.0270, 0.0707, 0.9911]],
    "code points": [[0.4306, 0.3415, 0.1783], [0.2220, 0.7066, 0.0713], [0.0202, 0.1296, 0.9392]],
}


def in_srgb(values, kind):
    """Return 8-bit values in the color space of SIGNALS as 8-bit sRGB, by published matrices."""
    light = (values / 255.0) ** LIGHT[kind]
    light = light @ (np.linalg.inv(TO_XYZ["sRGB"]) @ TO_XYZ.get(kind, TO_XYZ["sRGB"])).T
    light = light.clip(0, 1)
    return 255 * np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)


@pytest.mark.parametrize("kind", SIGNALS)
@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp", ".tif", ".bmp", ".avif", ".heic"])
def test_color_without_field_becomes_profile(tmp_path, extension, kind):
    if extension == ".heic":
        pytest.importorskip("pillow_heif")
    flat = np.array([[[150, 120, 90]]], np.uint8).repeat(16, 0).repeat(16, 1)
    picture = Picture(flat, color=SIGNALS[kind])
    assert dropped_color(extension, picture) is None
    write_image(tmp_path / f"a{extension}", picture)
    back = read_image(tmp_path / f"a{extension}")
    expected, shown = in_srgb(flat[0, 0], kind), back.pixels[0, 0].astype(float)
    if back.icc_profile:
        shown = to_srgb(back.pixels, back.icc_profile)[0][0, 0]
    elif extension != ".bmp":  # the format has a field for the signal
        assert back.color != ColorSignals()
        return
    np.testing.assert_allclose(shown, expected, atol=4 if extension in (".jpg", ".webp", ".avif", ".heic") else 1.5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_profile_of_any_depth_and_channels(tmp_path, channels, dtype):
    write_image(tmp_path / "a.tif", Picture(pixels(dtype, channels), color=ColorSignals(gamma=1.0)))
    back = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(back.pixels, pixels(dtype, channels))
    shown = to_srgb(back.pixels, back.icc_profile)[0]
    colors = pixels(channels=channels)[..., : 1 if channels < 3 else 3].repeat(3 if channels < 3 else 1, axis=2)
    expected = in_srgb(colors, "gamma")
    assert np.abs(shown[..., :3] / (1 if dtype == np.uint8 else 257) - expected).max() < 1.5


@pytest.mark.parametrize("extension", [".webp", ".gif", ".png"])
def test_frames_without_field_become_profile(tmp_path, extension):
    frames = [Picture(np.full((8, 8, 1), value, np.uint8), color=ColorSignals(gamma=1.0)) for value in (60, 90)]
    write_frames(tmp_path / f"a{extension}", Frames(2, iter(frames), (100, 100)))
    with open_frames(tmp_path / f"a{extension}") as back:
        (first, _) = back.pictures
    if extension == ".png":
        assert first.color.gamma == 1
        return
    assert (first.icc_profile is None) == (extension == ".gif")
    expected = in_srgb(np.array([60, 60, 60]), "gamma")
    assert np.abs(first.pixels[..., :3].astype(int) - expected).max() < 5


@pytest.mark.parametrize("color", [ColorSignals((10, 13)), ColorSignals((1, 7)), ColorSignals((12, 13), False)])
def test_dropped_color_names_signals(color):
    note = dropped_color(".jpg", Picture(pixels(), color=color))
    assert "code points" in note
    assert "\n" not in note
    assert dropped_color(".jpg", Picture(pixels(), SRGB, color=color)) is None


@pytest.mark.parametrize("primaries", [(0.3, 0.3) * 3, (0.6, 0.0, 0.3, 0.6, 0.1, 0.1)])
def test_invalid_chromaticities_are_dropped(tmp_path, primaries):
    picture = Picture(pixels(), color=ColorSignals(primaries=primaries))
    assert "chromaticities" in dropped_color(".bmp", picture)
    write_image(tmp_path / "a.bmp", picture)


@pytest.mark.parametrize("extension", [".avif", ".heic"])
def test_dropped_color_names_hdr_metadata(extension):
    color = ColorSignals((9, 16), mastering_display=CHUNKS[b"mDCV"], light_level=CHUNKS[b"cLLI"])
    assert "mastering display, light level" in dropped_color(extension, Picture(pixels(), color=color))
    assert dropped_color(".png", Picture(pixels(), color=color)) is None


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


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("extension", [".avif", ".heic", ".png"])
@pytest.mark.parametrize("code_points", [(9, 16), (9, 18), (12, 13)])
def test_code_points_round_trip(tmp_path, extension, code_points, channels, dtype):
    if extension == ".heic":
        pytest.importorskip("pillow_heif")
    values = pixels(dtype, channels)
    picture = Picture(values, SRGB if channels > 1 else None, color=ColorSignals(code_points))
    write_image(tmp_path / f"a{extension}", picture)
    back = read_image(tmp_path / f"a{extension}")
    assert back.color.code_points == code_points
    assert (back.icc_profile is None) == (extension != ".png" or channels == 1)  # a profile would take precedence
    assert back.pixels.dtype == dtype
    assert np.abs(back.pixels[..., :1].astype(int) - values[..., :1]).max() < 12 * np.iinfo(dtype).max / 255
    data = (tmp_path / f"a{extension}").read_bytes()
    if extension == ".heic" or (extension == ".avif" and dtype == np.uint8):  # otherwise not in a box
        assert struct.unpack_from(">2H", data, nclx_offset(data)) == code_points


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
    if extension == ".tif":
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            assert len(file.pages[0].tags["TransferFunction"].value) == len(table)
    write_image(tmp_path / "b.png", back)
    found = chunks_of(tmp_path / "b.png")
    assert found[b"cHRM"] == CHUNKS[b"cHRM"]
    assert b"iCCP" in found


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


@pytest.mark.parametrize("options", [{}, {"bitspersample": 12}, {"pixelformat": "422"}, {"frames": 3}], ids=str)
def test_code_points_of_av1_sequence_header(tmp_path, options):
    image = pixels() if options.get("bitspersample", 8) == 8 else pixels().astype(np.uint16) * 16
    image = np.stack([image] * options.pop("frames", 1)).squeeze()
    data = imagecodecs.avif_encode(image, primaries=9, transfer=16, **options).replace(b"colrnclx", b"freenclx")
    assert signals_from_heif(data).code_points == (9, 16)
    for end in range(0, len(data), 7):
        signals_from_heif(data[:end])
    if image.ndim == 3:
        (tmp_path / "a.avif").write_bytes(data)
        assert read_image(tmp_path / "a.avif").color.hdr == "PQ"


def box(kind, *contents):
    return struct.pack(">I4s", 8 + sum(map(len, contents)), kind) + b"".join(contents)


def golomb(*values):
    """Return Exp-Golomb codes as a string of bits."""
    return "".join("0" * ((value + 1).bit_length() - 1) + f"{value + 1:b}" for value in values)


def parameter_set(rich, signal="110111" + f"{9:08b}{16:08b}{9:08b}"):
    """Return an HEVC sequence parameter set with few or all optional fields."""
    profile, level = "00000100" + "0" * 80, f"{93:08b}"
    bits = f"0000{2 if rich else 0:03b}1" + profile + level
    if rich:
        bits += "1101" + "0" * 12 + profile + level + level  # of two sub-layers
    bits += golomb(0) + (golomb(3) + "0" if rich else golomb(1)) + golomb(64, 64)
    bits += ("1" + golomb(0, 1, 0, 1) if rich else "0") + golomb(2, 2, 4)
    bits += ("1" + golomb(4, 2, 5) * 3 if rich else "0" + golomb(4, 2, 5)) + golomb(0, 3, 0, 3, 0, 0)
    if rich:  # scaling lists: the first of each size copied, others stored
        copied, lists = "0" + golomb(0), "11"
        lists += copied + ("1" + golomb(*[16] * 16)) * 5
        lists += copied + ("1" + golomb(*[16] * 64)) * 5
        lists += copied + ("1" + golomb(15, *[16] * 64)) * 5
        lists += copied + "1" + golomb(15, *[16] * 64)
    bits += lists if rich else "0"
    bits += "11" + ("1" + "01110111" + golomb(0, 0) + "0" if rich else "0")
    sets = golomb(2, 1) + (golomb(0) + "1") * 2 + golomb(0) + "1"  # two pictures before, one after
    sets += "1" + "0" + golomb(2) + "1" + "01" + "00" + "1"  # predicted: three of four pictures
    sets += "1" + "0" + golomb(2) + "1" * 4
    bits += golomb(3) + sets if rich else golomb(0)
    bits += ("1" + golomb(2) + ("10101010" + "1") * 2 if rich else "0") + "11"
    bits += "1" + ("1" + "11111111" + "0" * 15 + "1" + "0" * 15 + "1" + "10" if rich else "00") + signal
    bits += "0" * 40 + "1"
    data = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    return b"\x42\x01" + escaped(data)


def escaped(data):
    """Return data with emulation prevention."""
    result, zeros = bytearray(), 0
    for value in data:
        if zeros == 2 and value <= 3:
            result.append(3)
            zeros = 0
        result.append(value)
        zeros = zeros + 1 if value == 0 else 0
    return bytes(result)


@pytest.mark.parametrize("rich", [False, True])
def test_hevc_header_code_points(rich):
    data = parameter_set(rich)
    assert HEVCHeader(data).code_points() == (9, 16)
    assert HEVCHeader(parameter_set(rich, "110110")).code_points() is None
    for end in range(0, len(data) - 12, 7):
        with pytest.raises(LookupError):
            HEVCHeader(data[:end]).code_points()
    with pytest.raises(LookupError):
        HEVCHeader(data[:20] + bytes(1 << 20)).code_points()


@pytest.mark.parametrize("bits", [8, 10])
def test_code_points_in_hevc_stream(tmp_path, bits):
    heif, file = pytest.importorskip("pillow_heif"), io.BytesIO()
    mode, values = ("RGB", pixels()) if bits == 8 else ("RGB;16", pixels(np.uint16))
    options = {"color_primaries": 9, "transfer_characteristics": 16, "matrix_coefficients": 9, "full_range_flag": 1}
    heif.encode(mode, (32, 24), values.tobytes(), file, **options)
    data = file.getvalue().replace(b"colrnclx", b"freenclx")
    assert nclx_offset(data) is None
    (tmp_path / "a.heic").write_bytes(data)
    assert read_image(tmp_path / "a.heic").color.hdr == "PQ"
    start = data.index(b"hvcC") - 4
    for size in range(30, 110):  # damaged
        signals_from_heif(data[:start] + struct.pack(">I", size) + data[start + 4 :])


def test_hdr_metadata_of_avif_becomes_png_chunks(tmp_path):
    colors = struct.pack(">8H", 13250, 34500, 7500, 3000, 34000, 16000, 15635, 16450)  # green, blue, red, white
    mastering = box(b"mdcv", colors, struct.pack(">2I", 10**7, 50))
    code_points = box(b"colr", b"nclx", struct.pack(">3HB", 9, 16, 9, 128))
    properties = box(b"ipco", code_points, mastering, box(b"clli", struct.pack(">2H", 1000, 400)))
    associations = box(b"ipma", struct.pack(">2IH4B", 0, 1, 1, 3, 1, 2, 3))
    items = box(b"pitm", struct.pack(">IH", 0, 1)) + box(b"iprp", properties, associations)
    color = signals_from_heif(box(b"ftyp", b"avif\0\0\0\0") + box(b"meta", bytes(4), items))
    assert color.code_points == (9, 16)
    write_image(tmp_path / "a.png", Picture(pixels(), color=color))
    found = chunks_of(tmp_path / "a.png")
    assert (found[b"mDCV"], found[b"cLLI"]) == (CHUNKS[b"mDCV"], CHUNKS[b"cLLI"])


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
