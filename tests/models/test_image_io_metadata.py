"""Metadata of written images: kept, updated or dropped."""

import io

import numpy as np
import pytest
from PIL import Image

from lamnet_models.image_io import Picture, read_image, write, write_image
from lamnet_models.image_io.picture import descriptive_exif

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
MAKE, ORIENTATION, X_RESOLUTION, EXIF, GPS, TAKEN, WIDTH, HEIGHT = 271, 274, 282, 34665, 34853, 36867, 40962, 40963
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
    if dtype == np.uint16 and extension not in (".png", ".tif"):
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
    if dtype == np.uint16 and extension not in (".png", ".tif"):
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
    pytest.importorskip("tifffile")
    import tifffile

    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.asarray(), pixels)
        assert file.pages[0].tags["Make"].value == "Camera"


def test_descriptive_exif_without_descriptive_tags():
    assert descriptive_exif(Image.Exif()) is None
    data = Image.Exif()
    data[ORIENTATION] = 3
    assert descriptive_exif(data) is None


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
