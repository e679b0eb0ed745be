"""Round trips of image files in every format and depth."""

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image, ImageCms

from lamnet_models import image_io
from lamnet_models.errors import ImageError
from lamnet_models.image_io import WRITABLE, Picture, read_image, write, write_image
from lamnet_models.inference.sizing import resize_image

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY = SRGB[:16] + b"GRAY" + SRGB[20:]  # only the color space in the header is checked


def noise(channels: int, dtype: type = np.uint8, size: tuple[int, int] = (13, 11)) -> np.ndarray:
    return np.random.default_rng(channels).integers(0, np.iinfo(dtype).max, (*size, channels), dtype, endpoint=True)


def smooth(channels: int = 3) -> np.ndarray:
    y, x = np.mgrid[:24, :32]
    return np.stack((x * 5 + 20, y * 7 + 30, (x + y) * 3 + 40, 255 - x * 4)[:channels], axis=2).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("extension", [".png", ".tif", ".tiff"])
def test_write_lossless_round_trip(tmp_path, extension, channels, dtype):
    path, profile = tmp_path / f"a{extension}", SRGB if channels > 2 else GRAY
    pixels = noise(channels, dtype)
    write_image(path, Picture(pixels, profile, (300.0, 150.0)))
    back = read_image(path)
    assert back.pixels.dtype == dtype
    np.testing.assert_array_equal(back.pixels, pixels)
    assert back.icc_profile == profile
    assert back.dpi == pytest.approx((300, 150), abs=0.02)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("extension", [".jpg", ".webp", ".bmp"])
def test_write_other_round_trips(tmp_path, extension, channels):
    path, pixels = tmp_path / f"a{extension}", smooth(channels)
    write_image(path, Picture(pixels, None, (300.0, 300.0)))
    back = read_image(path)
    expected = np.repeat(pixels, 3, axis=2) if extension == ".webp" and channels == 1 else pixels
    assert back.pixels.shape == expected.shape
    assert np.abs(back.pixels.astype(int) - expected).max() <= (0 if extension == ".bmp" else 6)
    assert back.dpi == pytest.approx((300, 300), abs=0.02)


@pytest.mark.parametrize("extension", [".jpg", ".webp"])
def test_write_lossy_keeps_profile(tmp_path, extension):
    write_image(tmp_path / f"a{extension}", Picture(smooth(), SRGB))
    assert read_image(tmp_path / f"a{extension}").icc_profile == SRGB


def test_write_quality_affects_size(tmp_path):
    for extension in (".jpg", ".webp"):
        paths = [tmp_path / f"{quality}{extension}" for quality in (30, 95)]
        for path, quality in zip(paths, (30, 95), strict=True):
            write_image(path, Picture(noise(3)), quality=quality)
        assert paths[0].stat().st_size < paths[1].stat().st_size


def test_write_jpeg_without_chroma_subsampling(tmp_path):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, ::2, 0] = pixels[:, 1::2, 2] = 200  # alternating red and blue columns
    write_image(tmp_path / "a.jpg", Picture(pixels))
    assert np.abs(read_image(tmp_path / "a.jpg").pixels.astype(int) - pixels).max() < 40


def test_write_webp_keeps_alpha(tmp_path):
    pixels = smooth(4)
    write_image(tmp_path / "a.webp", Picture(pixels))
    np.testing.assert_array_equal(read_image(tmp_path / "a.webp").pixels[..., 3], pixels[..., 3])


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1)])
@pytest.mark.parametrize(
    ("extension", "dtype"), [*((known, np.uint8) for known in WRITABLE), (".png", np.uint16), (".tif", np.uint16)]
)
def test_write_minimal_sizes(tmp_path, extension, dtype, size):
    write_image(tmp_path / f"a{extension}", Picture(noise(3, dtype, size)))
    assert read_image(tmp_path / f"a{extension}").pixels.shape == (*size, 3)


@pytest.mark.parametrize("with_exif", [False, True])
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("extension", [".png", ".tif", ".jpg", ".webp", ".bmp"])
def test_write_without_dpi(tmp_path, monkeypatch, extension, dtype, large, with_exif):
    if dtype == np.uint16 and extension not in (".png", ".tif"):
        pytest.skip("8-bit format")
    monkeypatch.setattr(write, "STREAMING_THRESHOLD", 0 if large else 1 << 40)  # large images are written by libvips
    exif = Image.Exif()
    exif[271] = "Camera"
    path = tmp_path / f"a{extension}"
    write_image(path, Picture(noise(3, dtype), exif=exif.tobytes().removeprefix(b"Exif\0\0") if with_exif else None))
    back = read_image(path)
    assert back.dpi is None
    assert (back.exif is not None) == (with_exif and extension != ".bmp")
    if extension == ".tif":
        with tifffile.TiffFile(path) as file:
            assert file.pages[0].tags.valueof("ResolutionUnit", 1) == 1  # none
    else:
        with Image.open(path) as image:
            image.load()
            default = (72, 72) if extension == ".jpg" else (0, 0)  # Pillow's, if the file has no resolution
            assert image.info.get("dpi", default) in (default, (0, 0))
            assert image.getexif().get(282) is None


@pytest.mark.parametrize("extension", [".png", ".tif", ".jpg"])
def test_write_large_with_dpi_and_exif(tmp_path, monkeypatch, extension):
    monkeypatch.setattr(write, "STREAMING_THRESHOLD", 0)
    exif = Image.Exif()
    exif[271] = "Camera"
    data = exif.tobytes().removeprefix(b"Exif\0\0")
    write_image(tmp_path / f"a{extension}", Picture(smooth(), SRGB, (300.0, 150.0), data))
    back = read_image(tmp_path / f"a{extension}")
    assert back.dpi == pytest.approx((300, 150), abs=0.02)
    assert (back.icc_profile, back.exif) == (SRGB, data)
    assert np.abs(back.pixels.astype(int) - smooth()).max() <= (6 if extension == ".jpg" else 0)


def test_read_jpeg_without_dpi(tmp_path):
    Image.fromarray(smooth()).save(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg").dpi is None
    exif = Image.Exif()
    exif[271] = "Camera"
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=exif)  # Pillow reads 72 dpi
    assert read_image(tmp_path / "a.jpg").dpi is None


def test_write_bmp_converts_to_srgb(tmp_path):
    pixels = np.array([[[200, 40, 40], [128, 128, 128], [255, 255, 255]]], np.uint8)
    write_image(tmp_path / "a.bmp", Picture(pixels, bytes(pyvips.Image.profile_load("p3"))))
    red, gray, white = read_image(tmp_path / "a.bmp").pixels[0].astype(int)
    assert red[0] > 210  # sRGB has a smaller gamut than Display P3, so its value for the same red is larger
    assert np.abs(gray - 128).max() <= 1
    assert np.abs(white - 255).max() <= 1


@pytest.mark.parametrize("channels", [1, 2])
def test_write_webp_gray_profile(tmp_path, channels):
    write_image(tmp_path / "a.webp", Picture(smooth(channels), GRAY))
    back = read_image(tmp_path / "a.webp")
    assert back.icc_profile is None or back.icc_profile[16:20] == b"RGB "
    assert back.pixels.shape[2] == channels + 2


# Format capabilities


@pytest.mark.parametrize(
    ("name", "pixels", "reason"),
    [
        ("a.jpg", noise(4), "JPEG .*transparency"),
        ("a.bmp", noise(2), "BMP .*transparency"),
        ("a.jpg", noise(3, np.uint16), "JPEG .*16-bit"),
        ("a.webp", noise(1, np.uint16), "WEBP .*16-bit"),
        ("a.webp", np.zeros((1, 16384, 3), np.uint8), "16,383 pixels"),
        ("a.jpeg", np.zeros((65501, 1, 3), np.uint8), "65,500 pixels"),
        ("a.gif", noise(3), r"extension .*got \.gif"),
        ("a", noise(3), "extension .*got none"),
    ],
)
def test_write_unsupported(tmp_path, name, pixels, reason):
    with pytest.raises(ImageError, match=reason) as caught:
        write_image(tmp_path / name, Picture(pixels))
    assert str(tmp_path / name) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("source_bits", "written_bits"), [(10, 10), (12, 12), (None, 12)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("extension", [".avif", ".heic"])
def test_write_heif_above_8_bits(tmp_path, extension, channels, source_bits, written_bits):
    if extension == ".heic":
        pytest.importorskip("pillow_heif")
    y, x = np.mgrid[:24, :32]
    values = np.stack([x * 1000 + y * 900, y * 2000 + 9, 60000 - x * 500, 20000 + y * 1000 + x][:channels], axis=2)
    write_image(tmp_path / f"a{extension}", Picture(values.astype(np.uint16), bit_depth=source_bits), quality=100)
    back = read_image(tmp_path / f"a{extension}")
    assert back.bit_depth == written_bits
    found = back.pixels[..., [0, 3]] if channels == 2 else back.pixels[..., :channels]
    error = (found.astype(int) - values) / 64  # in levels of 10 bits
    assert np.abs(error).max() < 10
    assert abs(error.mean()) < 0.2  # rounded, not truncated


@pytest.mark.parametrize("extension", [".avif", ".heic"])
def test_write_heif_of_upscaled_10_bits(tmp_path, extension):
    if extension == ".heic":
        pytest.importorskip("pillow_heif")
    flat = np.full((16, 16, 3), 513 * 64 + 8, np.uint16)
    write_image(tmp_path / f"a{extension}", Picture(flat, bit_depth=10))
    picture = resize_image(read_image(tmp_path / f"a{extension}"), 32, 32)
    write_image(tmp_path / f"b{extension}", picture)
    assert read_image(tmp_path / f"b{extension}").bit_depth == 10


@pytest.mark.parametrize(("extension", "side"), [(".webp", 16_383), (".jpg", 65_500)])
def test_write_maximum_side(tmp_path, extension, side):
    write_image(tmp_path / f"a{extension}", Picture(np.zeros((1, side, 3), np.uint8)))
    assert read_image(tmp_path / f"a{extension}").width == side


def test_write_uppercase_extensions(tmp_path):
    for extension in WRITABLE:
        write_image(tmp_path / f"a{extension.upper()}", Picture(smooth()))
        with Image.open(tmp_path / f"a{extension.upper()}") as image:
            assert image.format in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF", "HEIF")


# Pictures with alpha in formats without it


@pytest.mark.parametrize("channels", [2, 4])
def test_write_opaque_alpha(tmp_path, channels):
    pixels = smooth(channels)
    pixels[..., -1] = 255
    for extension in (".jpg", ".bmp"):
        write_image(tmp_path / f"a{extension}", Picture(pixels))
        assert read_image(tmp_path / f"a{extension}").channels == channels - 1


@pytest.mark.parametrize(
    ("background", "dtype", "channels", "profile", "expected"),
    [
        ("white", np.uint8, 4, SRGB, (255, 255, 255)),
        ("#804020", np.uint8, 2, GRAY, (128, 64, 32)),
        ("#808080", np.uint8, 2, GRAY, (128,)),
        ("rgb(1,2,3)", np.uint16, 4, SRGB, (257, 514, 771)),
    ],
)
def test_picture_flattened(background, dtype, channels, profile, expected):
    pixels = np.zeros((2, 3, channels), dtype)
    pixels[0, 0] = np.iinfo(dtype).max
    flat = Picture(pixels, profile).flattened(background)
    assert flat.pixels.dtype == dtype
    assert tuple(flat.pixels[1, 1]) == expected
    assert (flat.pixels[0, 0] == np.iinfo(dtype).max).all()
    assert (flat.icc_profile is None) == (len(expected) == 3 and channels == 2)


def test_write_background(tmp_path):
    write_image(tmp_path / "a.bmp", Picture(np.zeros((2, 3, 4), np.uint8)), background="lime")
    assert tuple(read_image(tmp_path / "a.bmp").pixels[0, 0]) == (0, 255, 0)


# Failures


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_write_failure_keeps_existing_file(tmp_path, monkeypatch, dtype):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(file, *args, **kwargs):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_io.write, "_write", fail)
    with pytest.raises(ImageError, match=r"a\.png: .*No space left on device"):
        write_image(path, Picture(noise(3, dtype)))
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_write_missing_folder(tmp_path, dtype):
    path = tmp_path / "new/folder/a.png"
    write_image(path, Picture(noise(3, dtype)))
    assert path.is_file()
    with pytest.raises(ImageError, match="Not a directory"):
        write_image(path / "folder/b.png", Picture(noise(3, dtype)))


@pytest.mark.parametrize("quality", [0, 101, 9.5])
def test_write_quality_out_of_range(tmp_path, quality):
    with pytest.raises(ValueError, match=f"quality .*got {quality}"):
        write_image(tmp_path / "a.jpg", Picture(smooth()), quality=quality)


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 3), np.uint8), np.zeros((2, 3, 5), np.uint8), np.zeros((0, 3, 3), np.uint8)]
)
def test_picture_invalid_shape(pixels):
    with pytest.raises(ValueError, match=r"pixels .*shape"):
        Picture(pixels)


def test_picture_invalid_dtype():
    with pytest.raises(ValueError, match="float64"):
        Picture(np.zeros((2, 3, 3)))
