"""Estimate of the quality of JPEG files."""

import io

import numpy as np
import pytest
from PIL import Image, JpegPresets

from lamnet_models.image_io import read_image
from lamnet_models.image_io.jpeg import estimate_quality


def photo(mode="RGB"):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)).convert(mode)


def saved(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return Image.open(file)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_estimate_quality_standard_tables_exact(mode, subsampling):
    image = photo(mode)
    qualities = range(1, 101)
    assert [estimate_quality(saved(image, quality=q, subsampling=subsampling)) for q in qualities] == [*qualities]


@pytest.mark.parametrize(
    ("tables", "low", "high"),
    [
        ([[1] * 64], 100, 100),
        ([[2] * 64], 90, 98),
        ([[16] * 64], 40, 60),
        ([[255] * 64], 1, 5),
        (JpegPresets.presets["low"]["quantization"], 35, 55),  # tables of Photoshop
        (JpegPresets.presets["medium"]["quantization"], 55, 70),
        (JpegPresets.presets["high"]["quantization"], 75, 89),
        (JpegPresets.presets["maximum"]["quantization"], 90, 97),
        (JpegPresets.presets["web_maximum"]["quantization"], 97, 100),
    ],
)
def test_estimate_quality_other_tables(tables, low, high):
    assert low <= estimate_quality(saved(photo(), qtables=tables)) <= high


def test_estimate_quality_without_table():
    assert estimate_quality(photo()) is None
    data = saved(photo(), quality=70).fp.getvalue()
    start = data.index(b"\xff\xdb")
    while data[start : start + 2] == b"\xff\xdb":
        data = data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]
    assert estimate_quality(Image.open(io.BytesIO(data))) is None


def test_read_image_jpeg_quality(tmp_path):
    exif = photo().getexif()
    exif[0x0112] = 6
    photo().save(tmp_path / "a.jpg", quality=72, exif=exif)
    picture = read_image(tmp_path / "a.jpg")
    assert (picture.jpeg_quality, picture.has_jpeg_artifacts) == (72, True)
    assert picture.with_pixels(picture.pixels).jpeg_quality == 72
    photo().save(tmp_path / "a.jpg", quality=90)
    assert (read_image(tmp_path / "a.jpg").jpeg_quality, read_image(tmp_path / "a.jpg").has_jpeg_artifacts) == (
        90,
        False,
    )
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-2])  # without end marker
    assert read_image(tmp_path / "a.jpg").jpeg_quality == 90
    photo().save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png").jpeg_quality, read_image(tmp_path / "a.png").has_jpeg_artifacts) == (
        None,
        False,
    )
