"""Reading of image files: modes, color spaces, orientation, errors."""

import io
import os
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image, ImageOps

from lamnet_models.errors import ImageError
from lamnet_models.image_io import Picture, read_image, write_image
from lamnet_models.image_io.frames import frame_count

CMYK_PROFILE = bytes(pyvips.Image.profile_load("cmyk"))
ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 274, 282, 283, 296


def noise(channels: int, dtype: type = np.uint8, size: tuple[int, int] = (13, 11)) -> np.ndarray:
    return np.random.default_rng(channels).integers(0, np.iinfo(dtype).max, (*size, channels), dtype, endpoint=True)


def inks(dtype: type = np.uint8) -> np.ndarray:
    """All pairs of cyan and black values, with some magenta and yellow: (256, 256, 4)."""
    cyan, black = np.mgrid[:256, :256]
    values = np.stack((cyan, np.full_like(cyan, 100), cyan[::-1] // 2, black), axis=2)
    return (values * (np.iinfo(dtype).max // 255)).astype(dtype)


def png(bits: int, color_type: int, width: int, row: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    header = (b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, color_type, 0, 0, 0))
    parts = (header, *chunks, (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


# Modes


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.gif"])
def test_read_one_bit(tmp_path, name):
    image = Image.fromarray(noise(1)[..., 0]).convert("1")
    image.save(tmp_path / name)
    values = read_image(tmp_path / name).pixels
    np.testing.assert_array_equal(values[..., 0], np.asarray(image) * np.uint8(255))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.gif"])
def test_read_palette(tmp_path, name):
    image = Image.fromarray(noise(3)).quantize(16)
    image.save(tmp_path / name)
    np.testing.assert_array_equal(read_image(tmp_path / name).pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_read_palette_with_transparency(tmp_path, name):
    image = Image.fromarray(noise(3)).quantize(16)
    image.save(tmp_path / name, transparency=3)
    pixels = read_image(tmp_path / name).pixels
    visible = np.asarray(image) != 3
    np.testing.assert_array_equal(pixels[..., 3], visible * np.uint8(255))
    np.testing.assert_array_equal(pixels[visible][:, :3], np.asarray(image.convert("RGB"))[visible])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(2, 0, 4, b"\x1b", (b"tRNS", b"\0\2")), [[0, 255], [85, 255], [170, 0], [255, 255]]),
        (png(4, 0, 2, b"\x0a", (b"tRNS", b"\0\x0a")), [[0, 255], [170, 0]]),
        (png(8, 2, 2, bytes(5) + b"\1", (b"tRNS", bytes(6))), [[0, 0, 0, 0], [0, 0, 1, 255]]),
        (png(16, 0, 2, b"\1\2\1\3", (b"tRNS", b"\1\2")), [[258, 0], [259, 65535]]),
        (png(16, 2, 2, b"\1\2" * 5 + b"\1\3", (b"tRNS", b"\1\2" * 3)), [[258, 258, 258, 0], [258, 258, 259, 65535]]),
    ],
)
def test_read_png_transparent_color(tmp_path, data, expected):
    (tmp_path / "a.png").write_bytes(data)
    assert read_image(tmp_path / "a.png").pixels[0].tolist() == expected


@pytest.mark.parametrize(("dtype", "unit"), [(np.uint8, 1), (np.uint16, 257)])
def test_read_premultiplied_alpha(tmp_path, dtype, unit):
    pixels = np.array([[[100, 50, 25, 128], [60, 60, 60, 255]]]) * unit
    tifffile.imwrite(tmp_path / "a.tif", pixels.astype(dtype), photometric="rgb", extrasamples=["assocalpha"])
    back = read_image(tmp_path / "a.tif").pixels
    assert np.abs(back / unit - [[[199.2, 99.6, 49.8, 128], [60, 60, 60, 255]]]).max() <= 1


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("variant", ["plain", "bigtiff", "tiled", "lzw", "planar", "white"])
def test_read_16_bit_tiff(tmp_path, variant, byteorder):
    pixels = noise(1 if variant == "white" else 3, np.uint16, (32, 32))
    stored, options = pixels, {"photometric": "rgb", "byteorder": byteorder}
    if variant == "white":  # 0 is white
        stored, options["photometric"] = 65535 - pixels[..., 0], "miniswhite"
    elif variant == "planar":
        stored, options["planarconfig"] = np.ascontiguousarray(np.moveaxis(pixels, 2, 0)), "separate"
    extra = {"bigtiff": {"bigtiff": True}, "tiled": {"tile": (16, 16)}, "lzw": {"compression": "lzw"}}
    options |= extra.get(variant, {})
    tifffile.imwrite(tmp_path / "a.tif", stored, **options)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, pixels)


def test_read_unusual_file_names(tmp_path):
    for name in ("a[1].png", "a[page=2].png", "b\nc.png", os.fsdecode(b"d\xff.png")):
        Image.fromarray(noise(3)).save(tmp_path / name)
        np.testing.assert_array_equal(read_image(tmp_path / name).pixels, noise(3))
    (tmp_path / "e\nf.png").touch()
    with pytest.raises(ImageError, match=r"e\\nf\.png: the file is empty"):
        read_image(tmp_path / "e\nf.png")


def test_read_detects_format_by_content(tmp_path):
    Image.fromarray(noise(3)).save(tmp_path / "photo.jpg", "PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "photo.jpg").pixels, noise(3))


# Color


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_read_cmyk_without_profile(tmp_path, name):
    Image.fromarray(inks(), "CMYK").save(tmp_path / name)
    picture = read_image(tmp_path / name)
    with Image.open(tmp_path / name) as image:
        np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert("RGB")))
    assert picture.icc_profile is None


def test_read_cmyk_16_bit(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", inks(np.uint16), photometric="separated")
    pixels = read_image(tmp_path / "a.tif").pixels
    assert pixels.dtype == np.uint16
    assert np.abs(pixels / 257 - np.asarray(Image.fromarray(inks(), "CMYK").convert("RGB"))).max() < 1


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_read_cmyk_with_profile(tmp_path, name):
    patches = np.zeros((16, 64, 4), np.uint8)
    patches[:, 16:32, 0] = patches[:, 32:48, 2] = patches[:, 48:, 3] = 255  # paper, cyan, yellow, black
    Image.fromarray(patches, "CMYK").save(tmp_path / name, icc_profile=CMYK_PROFILE)
    picture = read_image(tmp_path / name)
    paper, cyan, yellow, black = picture.pixels[8, 8::16].astype(int)
    assert paper.min() > 245  # relative colorimetric: paper is white
    assert black.max() < 60
    assert cyan[2] > 150 > 60 > cyan[0]
    assert yellow[0] > 200 > 60 > yellow[2]
    assert cyan[1] < 250  # 255 by the rule without profile
    assert picture.icc_profile[16:20] == b"RGB "


def test_read_cmyk_with_damaged_profile(tmp_path, capfd):
    Image.fromarray(inks(), "CMYK").save(tmp_path / "a.tif", icc_profile=CMYK_PROFILE[:300])
    picture = read_image(tmp_path / "a.tif")
    difference = picture.pixels - np.asarray(Image.fromarray(inks(), "CMYK").convert("RGB")).astype(int)
    assert np.abs(difference).mean() < 40
    assert picture.icc_profile[16:20] == b"RGB "
    assert capfd.readouterr().err == ""


def test_read_drops_profile_of_another_color_space(tmp_path):
    for name in ("a.png", "a.jpg"):
        Image.fromarray(noise(3)).save(tmp_path / name, icc_profile=CMYK_PROFILE)
        assert read_image(tmp_path / name).icc_profile is None


def test_read_cielab_16_bit(tmp_path):
    lab = np.array(
        [[[65535, 0, 0], [0, 0, 0], [65535 * 54 // 100, 81 * 256, 70 * 256]]], np.uint16
    )  # white, black, red
    tifffile.imwrite(tmp_path / "a.tif", lab, photometric="cielab")
    white, black, red = read_image(tmp_path / "a.tif").pixels[0] / 257
    assert white.min() > 253
    assert black.max() < 2
    assert red[0] > 240
    assert red[1:].max() < 60


def test_read_cielab_8_bit(tmp_path):
    lab = Image.new("LAB", (3, 2))
    lab.putdata([(255, 128, 128), (0, 128, 128), (138, 209, 198)] * 2)  # white, black, red
    lab.save(tmp_path / "a.tif")
    white, black, red = read_image(tmp_path / "a.tif").pixels[0]
    assert white.min() > 250
    assert black.max() < 5
    assert red[0] > 240
    assert red[1:].max() < 60


# Orientation and resolution


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "deep.png", "deep.tif"])
def test_read_applies_orientation(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.fromarray(np.kron(noise(3, size=(2, 3)), np.ones((16, 16, 1), np.uint8)))
    if name == "deep.tif":
        tag = (ORIENTATION, "H", 1, orientation, True)
        tifffile.imwrite(tmp_path / name, np.asarray(image) * np.uint16(257), photometric="rgb", extratags=[tag])
    elif name == "deep.png":
        deep = pyvips.Image.new_from_array(np.asarray(image) * np.uint16(257), interpretation="rgb16").copy()
        deep.set_type(pyvips.GValue.gint_type, "orientation", orientation)
        deep.pngsave(str(tmp_path / name))
    else:
        image.save(tmp_path / name, exif=exif, dpi=(300, 150), quality=95)
    picture = read_image(tmp_path / name)
    image.getexif()[ORIENTATION] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image))
    pixels = picture.pixels / 257 if picture.pixels.dtype == np.uint16 else picture.pixels
    assert pixels.shape == expected.shape
    assert np.abs(pixels[8::16, 8::16] - expected[8::16, 8::16].astype(int)).max() <= (
        0 if name[-3:] in "tif png" else 9
    )
    if name in ("a.png", "a.jpg", "a.tif"):
        assert picture.dpi == pytest.approx((150, 300) if orientation > 4 else (300, 150), abs=0.02)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_read_invalid_orientation(tmp_path, value):
    exif = Image.Exif()
    exif[ORIENTATION] = value
    Image.fromarray(noise(3)).save(tmp_path / "a.webp", exif=exif, lossless=True)
    np.testing.assert_array_equal(read_image(tmp_path / "a.webp").pixels, noise(3))


def test_read_webp_damaged_exif(tmp_path):
    Image.fromarray(noise(3)).save(tmp_path / "a.webp", exif=b"Exif\0\0II*\0\xff\xff\xff\xff", lossless=True)
    np.testing.assert_array_equal(read_image(tmp_path / "a.webp").pixels, noise(3))


@pytest.mark.parametrize(("unit", "expected"), [(2, 118), (3, 118 * 2.54)])
def test_read_dpi_from_exif(tmp_path, unit, expected):
    exif = Image.Exif()
    exif[X_RESOLUTION] = exif[Y_RESOLUTION] = 118.0
    exif[RESOLUTION_UNIT] = unit
    Image.fromarray(noise(3)).save(tmp_path / "a.webp", exif=exif)
    assert read_image(tmp_path / "a.webp").dpi == pytest.approx((expected, expected))


def test_read_dpi_without_unit(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise(3), photometric="rgb", resolution=(300, 300), resolutionunit="none")
    assert read_image(tmp_path / "a.tif").dpi is None


# Several images in one file


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_read_animation(tmp_path, name):
    frames = [Image.fromarray(noise(channels)[..., 0]) for channels in (1, 3)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    check_refused(tmp_path / name, "animated")


def test_read_multi_page_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    check_refused(tmp_path / "a.tif", "3 pages")


def test_read_mpo_first_image(tmp_path):
    first, second = (Image.fromarray(np.full((16, 16, 3), value, np.uint8)) for value in (40, 200))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    assert np.abs(read_image(tmp_path / "a.jpg").pixels.astype(int) - 40).max() <= 2


# Errors


def check_refused(path, reason: str | None = None) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_read_not_an_image(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("no picture at all\n" * 9)
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    check_refused(tmp_path / "empty.png", "empty")
    check_refused(tmp_path / "text.jpg", "not a PNG, JPEG")
    check_refused(tmp_path / "folder.png", "not a file")
    check_refused(tmp_path / "pipe.png", "not a file")
    check_refused(tmp_path / "missing.png", "no such file")


@pytest.mark.parametrize("dtype", [np.float32, np.uint32, np.int16, np.int8])
def test_read_unsupported_samples(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((8, 8), dtype), photometric="minisblack")
    check_refused(tmp_path / "a.tif", "8- or 16-bit")


def test_read_too_many_channels(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise(5), photometric="rgb")
    check_refused(tmp_path / "a.tif", "5 channels")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.webp", "a.bmp", "a.gif"])
def test_read_decompression_bomb(tmp_path, monkeypatch, name):
    Image.fromarray(noise(1, size=(30, 30))[..., 0]).save(tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(tmp_path / name)  # Pillow only warns
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    check_refused(tmp_path / name, "bomb")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    "name", ["a.png", "a.tif", "a.jpg", "a.webp", "a.bmp", "a.gif", "a.avif", "deep.png", "deep.tif"]
)
def test_read_truncated(tmp_path, capfd, name, share):
    path = tmp_path / name
    if name.startswith("deep"):
        write_image(path, Picture(noise(3, np.uint16, (64, 64))))
    else:
        Image.fromarray(noise(3, size=(64, 64))).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    check_refused(path, ": truncated: ")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("end", [0.001, 0.999])
@pytest.mark.parametrize("options", [{"compression": "lzw"}, {"bigtiff": True}, {"tile": (16, 16), "byteorder": ">"}])
def test_read_tiff_truncated(tmp_path, options, end):
    tifffile.imwrite(tmp_path / "a.tif", noise(3, size=(64, 64)), photometric="rgb", **options)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[: max(20, int(end * len(data)))])
    check_refused(tmp_path / "a.tif", ": truncated: ")


@pytest.mark.parametrize(("name", "missing"), [("a.png", 1), ("a.png", 12), ("a.gif", 1), ("a.gif", 2)])
def test_read_without_end_marker(tmp_path, name, missing):
    Image.fromarray(noise(1)[..., 0]).save(tmp_path / name)
    complete = read_image(tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-missing])
    picture = read_image(tmp_path / name)
    np.testing.assert_array_equal(picture.pixels, complete.pixels)
    assert (len(picture.notes), complete.notes) == (1, ())
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:20])
    check_refused(tmp_path / name)


def test_read_damaged_is_not_called_truncated(tmp_path):
    Image.fromarray(noise(3, size=(64, 64))).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[len(data) // 2] ^= 255
    (tmp_path / "a.png").write_bytes(data)
    check_refused(tmp_path / "a.png", "damaged, truncated or unsupported")


def test_read_mutated_files(tmp_path, capfd):
    dice = random.Random(0)
    originals = []
    gray, rgb = noise(1, size=(24, 20))[..., 0], noise(3, size=(24, 20))
    for image in (gray, rgb, noise(4, size=(24, 20))):
        for form in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"):
            file = io.BytesIO()
            picture = Image.fromarray(image)
            (picture.convert("RGB") if form == "JPEG" else picture).save(file, form)
            originals.append(file.getvalue())
    tifffile.imwrite(tmp_path / "deep", noise(3, np.uint16), compression="lzw")
    originals.append((tmp_path / "deep").read_bytes())
    originals.append(png(16, 2, 9, bytes(54)))
    read, errors = 0, []
    for turn in range(600):
        data = bytearray(originals[turn % len(originals)])
        if turn % 4 == 0:
            del data[dice.randrange(len(data)) :]
        else:
            for _ in range(dice.choice((1, 2, 8))):
                data[dice.randrange(len(data) if turn % 2 else min(64, len(data)))] = dice.randrange(256)
        path = tmp_path / "mutated"
        path.write_bytes(data)
        try:
            read_image(path)
            read += 1
        except ImageError as error:
            errors.append(str(error))
    assert all(error.startswith(f"{path}: ") and error.isprintable() for error in errors)
    assert 50 < read < 550
    assert capfd.readouterr().err == ""


def test_read_damaged_tile(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(3, size=(64, 64)), photometric="rgb", tile=(32, 32), compression="deflate")
    with tifffile.TiffFile(path) as file:
        start, length = file.pages[0].dataoffsets[3], file.pages[0].databytecounts[3]
    data = bytearray(path.read_bytes())
    data[start + 20 : start + length] = b"\x55" * (length - 20)
    path.write_bytes(data)
    check_refused(path, "damaged")


@pytest.mark.parametrize("compression", ["deflate", "lzma"])
def test_read_missing_tiles(tmp_path, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(3, size=(32, 32)), photometric="rgb", tile=(16, 16), compression=compression)
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry) == (256,):  # the width
            struct.pack_into("<HII", data, entry + 2, 4, 1, 5_000_000)
    path.write_bytes(data)
    check_refused(path)


def test_read_tiff_unsupported_by_libvips(tmp_path):
    planes = np.ascontiguousarray(np.moveaxis(noise(3, size=(32, 32)), 2, 0))
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", tile=(16, 16))
    tifffile.imwrite(tmp_path / "b.tif", noise(3, size=(32, 32)), photometric="rgb", compression="lzma")
    for name in ("a.tif", "b.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name).pixels, noise(3, size=(32, 32)))


# JPEG files without end


def jpeg(**options):
    y, x = np.mgrid[:96, :128]
    file = io.BytesIO()
    Image.fromarray(np.stack((x * 2, y * 2, x + y), axis=2).astype(np.uint8)).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}])
@pytest.mark.parametrize("missing", [1, 2])
def test_read_jpeg_without_end_marker(tmp_path, options, missing):
    (tmp_path / "a.jpg").write_bytes(jpeg(**options))
    (tmp_path / "b.jpg").write_bytes(jpeg(**options)[:-missing])
    whole, cut = read_image(tmp_path / "a.jpg"), read_image(tmp_path / "b.jpg")
    np.testing.assert_array_equal(whole.pixels, cut.pixels)
    assert whole.notes == ()
    assert len(cut.notes) == 1
    assert "end marker" in cut.notes[0]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
@pytest.mark.parametrize("missing", [5, 50, 0.3, 0.6])
def test_read_jpeg_without_image_data(tmp_path, options, end, missing):
    data = jpeg(**options)
    (tmp_path / "a.jpg").write_bytes(data[: -round(missing if missing > 1 else missing * len(data))] + end)
    check_refused(tmp_path / "a.jpg", "truncated: image data are missing")


@pytest.mark.parametrize("size", [(1, 1), (8, 6), (200, 1), (8, 8)])
def test_read_small_jpeg_without_notes(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg").notes == ()


def test_read_jpeg_with_trailing_data(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg() + b"video" * 99)
    assert read_image(tmp_path / "a.jpg").notes == ()


def test_read_jpeg_of_shared_cases(shared):
    assert len(read_image(shared / "cases" / "noeoi.jpg").notes) == 1
    check_refused(shared / "cases" / "trunc_prog_eoi.jpg", "truncated")
    check_refused(shared / "cases" / "jpg12.jpg", "12-bit JPEG is not supported")


# Intact files that are not supported


def jpeg_frame(marker, bits=8, channels=3):
    data = bytearray(jpeg())
    start = data.index(b"\xff\xc0")
    data[start + 1], data[start + 4], data[start + 9] = marker, bits, channels
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (jpeg_frame(0xC1, bits=12), "12-bit JPEG"),
        (jpeg_frame(0xC3), "lossless JPEG"),
        (jpeg_frame(0xC5), "hierarchical JPEG"),
        (jpeg_frame(0xF7), "JPEG-LS"),
        (jpeg_frame(0xC0, channels=2), "JPEG with 2 channels"),
        (b"8BPS\0\1" + bytes(99), "PSD"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "JPEG XL"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"PF\n2 2\n-1.0\n" + bytes(48), "PFM"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\4CgBI" + bytes(99), "Apple's variant of PNG"),
    ],
)
def test_read_unsupported_kind(tmp_path, data, kind):
    (tmp_path / "a.png").write_bytes(data)
    check_refused(tmp_path / "a.png", f"{kind} is not supported")
    with pytest.raises(ImageError, match=f"{kind} is not supported"):
        frame_count(tmp_path / "a.png")


@pytest.mark.parametrize(("tag", "value"), [("Compression", 34712), ("Compression", 34887), ("BitsPerSample", 12)])
def test_read_unsupported_tiff(tmp_path, tag, value):
    tifffile.imwrite(tmp_path / "a.tif", noise(1, np.uint16)[..., 0], metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        file.pages[0].tags[tag].overwrite(value)
    with pytest.raises(ImageError, match="not supported") as caught:
        read_image(tmp_path / "a.tif")
    assert "damaged" not in str(caught.value)


# BMP files of every header and depth

WIDTH, HEIGHT = 7, 5
GRAYS = b"".join(bytes((i, i, i, 0)) for i in range(256))


def bmp(bits, body, *, compression=0, size=40, masks=b"", palette=b"", colors=0, height=HEIGHT, extra=b""):
    if size == 12:
        header = struct.pack("<IHHHH", 12, WIDTH, height, 1, bits)
    else:
        header = struct.pack("<IiiHHIIiiII", size, WIDTH, height, 1, bits, compression, 0, 2835, 2835, colors, 0)
        header = (header + masks).ljust(size, b"\0") if size > 40 else header + masks
    start = 14 + len(header) + len(palette) + len(extra)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + palette + extra + body


def rows(bits, seed=0):
    stride = (WIDTH * bits + 31) // 32 * 4
    return np.random.default_rng(seed).integers(0, 256, stride * HEIGHT, np.uint8).tobytes()


def read(tmp_path, data):
    (tmp_path / "a.bmp").write_bytes(data)
    return read_image(tmp_path / "a.bmp").pixels


ALPHA = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
PALETTE = np.random.default_rng(1).integers(0, 256, 1024, np.uint8).tobytes()
RUNS = b"".join(bytes((4, i, 0, 3, 1, 2, 3, 0, 0, 0)) for i in range(5)) + b"\0\1"
COMMON = {
    "1 bit": bmp(1, rows(1), palette=PALETTE[:8]),
    "4 bits": bmp(4, rows(4), palette=PALETTE[:64]),
    "8 bits": bmp(8, rows(8), palette=PALETTE),
    "OS/2": bmp(8, rows(8), size=12, palette=PALETTE[:768]),
    "OS/2 24 bits": bmp(24, rows(24), size=12),
    "OS/2 version 2": bmp(24, rows(24), size=64),
    "16 bits": bmp(16, rows(16)),
    "565": bmp(16, rows(16), compression=3, masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F)),
    "24 bits": bmp(24, rows(24)),
    "32 bits": bmp(32, rows(32)),
    "top down": bmp(24, rows(24), height=-HEIGHT),
    "version 4": bmp(32, rows(32), size=108, compression=3, masks=ALPHA),
    "version 5": bmp(32, rows(32), size=124, compression=3, masks=ALPHA),
    "gap": bmp(24, rows(24), extra=b"x" * 40),
    "runs": bmp(8, RUNS, compression=1, palette=PALETTE),
}


@pytest.mark.parametrize("kind", COMMON)
def test_read_bmp_matches_pillow(tmp_path, kind):
    pixels = read(tmp_path, COMMON[kind])
    assert pixels.shape == (HEIGHT, WIDTH, 4 if kind in ("version 4", "version 5") else 3)
    with Image.open(io.BytesIO(COMMON[kind])) as image:
        np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGBA" if pixels.shape[2] == 4 else "RGB")))


def test_read_bmp_565_values(tmp_path):
    row = struct.pack("<H", 0b10000_000001_11111) * WIDTH + b"\0\0"
    data = bmp(16, row * HEIGHT, compression=3, masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F))
    assert np.abs(read(tmp_path, data)[2, 3] - np.array([132, 4, 255])).max() <= 1


def test_read_bmp_bottom_up_and_top_down(tmp_path):
    body = rows(24)
    np.testing.assert_array_equal(read(tmp_path, bmp(24, body)), read(tmp_path, bmp(24, body, height=-HEIGHT))[::-1])
    pixels = np.frombuffer(body, np.uint8).reshape(HEIGHT, -1)[::-1, : 3 * WIDTH].reshape(HEIGHT, WIDTH, 3)[..., ::-1]
    np.testing.assert_array_equal(read(tmp_path, bmp(24, body)), pixels)


UNSUPPORTED = {
    "2 bits": bmp(2, rows(2), palette=PALETTE[:16]),
    "4444": bmp(16, rows(16), size=124, compression=3, masks=struct.pack("<IIII", 0xF00, 0xF0, 0xF, 0xF000)),
    "10 bits": bmp(32, rows(32), compression=3, masks=struct.pack("<III", 0xFFC, 0x3FF000, 0xFFC00000)),
    "alpha bitfields": bmp(32, rows(32), compression=6, masks=ALPHA),
    "OS/2 RLE24": bmp(24, bytes((WIDTH, 1, 2, 3, 0, 0)) * HEIGHT + b"\0\1", compression=4, size=64),
    "JPEG": bmp(0, b"\xff\xd8\xff", compression=4),
    "5 bits": bmp(5, rows(8)),
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_read_bmp_unsupported_by_pillow(tmp_path, kind):
    with pytest.raises(ImageError, match="not supported"):
        read(tmp_path, UNSUPPORTED[kind])


def test_read_bmp_zero_alpha_is_padding(tmp_path):
    data = bmp(32, bytes((1, 2, 3, 0)) * WIDTH * HEIGHT, size=124, compression=3, masks=ALPHA)
    assert read(tmp_path, data)[0, 0].tolist() == [3, 2, 1]


def test_read_bmp_rle4(tmp_path):
    body = bytes((7, 0x98, 0, 0)) * 5 + b"\0\1"
    with pytest.raises(ImageError, match="4-bit"):
        read(tmp_path, bmp(4, body, compression=2, palette=PALETTE[:64]))


def test_read_bmp_gray_palette(tmp_path):
    assert read(tmp_path, bmp(8, rows(8), palette=GRAYS)).shape == (HEIGHT, WIDTH, 1)


def test_read_bmp_index_beyond_palette(tmp_path):
    pixels = read(tmp_path, bmp(8, bytes((0, 1, 2, 200, 0, 0, 0, 0)) * 5, palette=PALETTE[:12], colors=3))
    assert pixels[0, 3].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bmp(24, rows(24)[:-8]), "truncated"),
        (bmp(8, b"\7\1\0\0", compression=1, palette=GRAYS), "truncated"),
        (bmp(24, rows(24))[:30], "truncated|unsupported"),
        (bmp(24, rows(24), height=0), "not a PNG"),
        (bmp(8, b"", height=10**9, palette=GRAYS), "decompression bomb"),
        (bmp(8, b"", height=10**7, palette=GRAYS), "truncated"),
    ],
)
def test_read_bmp_invalid(tmp_path, data, reason):
    with pytest.raises(ImageError, match=reason):
        read(tmp_path, data)
