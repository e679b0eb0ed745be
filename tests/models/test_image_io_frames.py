"""Reading and writing of animations and multi-page files."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from lamnet_models.errors import ImageError
from lamnet_models.image_io import Picture, read_image
from lamnet_models.image_io.color import ColorSignals
from lamnet_models.image_io.frames import Frames, frame_count, open_frames, write_frames

DURATIONS = (40, 80, 120)


def blocks(index: int, size=(20, 24)) -> np.ndarray:
    cells = np.random.default_rng(index).integers(0, 256, (5, 6, 3))
    return np.kron(cells, np.ones((size[0] // 5, size[1] // 6, 1))).astype(np.uint8)


@pytest.fixture
def animation(tmp_path):
    def make(name, **options):
        frames = [Image.fromarray(blocks(index)) for index in range(3)]
        options = {"lossless": True} | options if name.endswith("webp") else options
        path = tmp_path / name
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=list(DURATIONS), loop=3, **options)
        return path

    return make


def pictures(path):
    with open_frames(path) as frames:
        return frames, [picture.pixels for picture in frames.pictures]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_write_frames_animation_round_trip(tmp_path, animation, name):
    path = animation(name)
    assert frame_count(path) == 3
    with open_frames(path) as frames:
        assert (frames.count, frames.durations, frames.loop) == (3, DURATIONS, 3)
        write_frames(tmp_path / f"b{name[1:]}", frames, quality=100)
    frames, results = pictures(tmp_path / f"b{name[1:]}")
    assert (frames.count, frames.durations, frames.loop) == (3, DURATIONS, 3)
    for index, result in enumerate(results):
        difference = np.abs(result[..., :3].astype(int) - blocks(index))
        assert difference.mean() < {"a.gif": 4, "a.webp": 15, "a.png": 1e-9}[name]


@pytest.mark.parametrize(
    ("name", "expected"), [("a.png", (17, 16, 17)), ("a.webp", (17, 16, 17)), ("a.gif", (20, 10, 20))]
)
def test_write_frames_keeps_total_duration(tmp_path, name, expected):
    shown = (Picture(blocks(index)) for index in range(3))
    write_frames(tmp_path / name, Frames(3, shown, (1000 / 60,) * 3))
    frames, _ = pictures(tmp_path / name)
    assert frames.durations == expected  # 50 ms in all


def test_write_frames_gif_without_loop(tmp_path, animation):
    frames = [Image.fromarray(blocks(index)) for index in range(2)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=50)
    with open_frames(tmp_path / "a.gif") as opened:
        assert opened.loop == 1
        write_frames(tmp_path / "b.gif", opened)
    with Image.open(tmp_path / "b.gif") as image:
        assert "loop" not in image.info


def test_write_frames_keeps_transparency(tmp_path):
    frames = []
    for index in range(3):
        pixels = np.zeros((16, 16, 4), np.uint8)
        pixels[4 * index : 4 * index + 4] = (200, 10, 10, 255)
        frames.append(Image.fromarray(pixels))
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=50, disposal=2)
    with open_frames(tmp_path / "a.gif") as opened:
        write_frames(tmp_path / "b.gif", opened)
    _, results = pictures(tmp_path / "b.gif")
    for frame, result in zip(frames, results, strict=True):
        np.testing.assert_array_equal(result[..., 3], np.asarray(frame)[..., 3])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_write_frames_tiff_pages(tmp_path, dtype):
    pages = [
        blocks(index, (5 * (index + 1), 12)).astype(dtype) * dtype(np.iinfo(dtype).max // 255) for index in range(3)
    ]
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page in pages:
            writer.write(page, photometric="rgb", resolution=(300, 150), resolutionunit="inch")
    assert frame_count(tmp_path / "a.tif") == 3
    with open_frames(tmp_path / "a.tif") as frames:
        write_frames(tmp_path / "b.tif", frames)
    _, results = pictures(tmp_path / "b.tif")
    for page, result in zip(pages, results, strict=True):
        np.testing.assert_array_equal(result, page)
    with open_frames(tmp_path / "b.tif") as frames:
        assert next(frames.pictures).dpi == pytest.approx((300, 150))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_write_frames_tiff_channels(tmp_path, channels):
    pages = [blocks(index)[..., :1].repeat(channels, 2) for index in range(2)]
    write_frames(tmp_path / "a.tif", Frames(2, map(Picture, pages)))
    with open_frames(tmp_path / "a.tif") as frames:
        for page, result in zip(pages, frames.pictures, strict=True):
            np.testing.assert_array_equal(result.pixels, page)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_write_frames_truncated_input(tmp_path, animation, name):
    path = animation(name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError) as caught, open_frames(path) as frames:
        write_frames(tmp_path / f"b{name[1:]}", frames)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_frame_count_still_images(tmp_path):
    for name in ("a.png", "a.gif", "a.bmp", "a.jpg", "a.tif"):
        Image.fromarray(blocks(0)).save(tmp_path / name)
        assert frame_count(tmp_path / name) == 1


def test_read_image_animation(animation):
    with pytest.raises(ImageError, match="3 frames"):
        read_image(animation("a.gif"))


@pytest.mark.parametrize("extension", [".webp", ".gif", ".tif"])
def test_write_hdr_frames_refused(tmp_path, extension):
    picture = Picture(np.zeros((4, 5, 3), np.uint8), color=ColorSignals((9, 16)))
    with pytest.raises(ImageError, match=r"HDR colors \(PQ\)"):
        write_frames(tmp_path / f"a{extension}", Frames(2, iter([picture] * 2), (100, 100)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("extension", [".webp", ".gif", ".png"])
def test_write_frames_pages_as_animation_refused(tmp_path, extension):
    pages = [Picture(np.zeros((4, 5, 3), np.uint8)), Picture(np.zeros((6, 7, 3), np.uint8))]
    with pytest.raises(ImageError, match="pages must be written as TIFF"):
        write_frames(tmp_path / f"a{extension}", Frames(2, iter(pages)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("extension", [".webp", ".gif", ".tif", ".png", ".avif"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
def test_read_truncated_frames(tmp_path, extension, share):
    path, random = tmp_path / f"a{extension}", np.random.default_rng(0)
    images = [Image.fromarray(random.integers(0, 256, (24, 32, 3), np.uint8)) for _ in range(3)]
    images[0].save(path, save_all=True, append_images=images[1:])
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    def read():
        with open_frames(path) as frames:
            return list(frames.pictures)

    with pytest.raises(ImageError, match=": truncated: "):
        read()


@pytest.mark.parametrize("full", [1, 2])
def test_reduced_pages_and_masks_are_no_pages(tmp_path, full):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for index in range(full):
            writer.write(blocks(index), photometric="rgb", metadata=None)
            writer.write(blocks(index)[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
            writer.write(blocks(index)[..., 0] > 99, photometric=4, subfiletype=4, metadata=None)
    assert frame_count(tmp_path / "a.tif") == full
    with open_frames(tmp_path / "a.tif") as frames:
        pictures = list(frames.pictures)
    assert len(pictures) == frames.count == full
    for index, picture in enumerate(pictures):
        np.testing.assert_array_equal(picture.pixels, blocks(index))
    if full == 1:
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, blocks(0))


@pytest.mark.parametrize("tags", [[], [(50706, 1, 4, (1, 4, 0, 0), True)]], ids=["preview", "DNG"])
def test_camera_raw_is_not_supported(tmp_path, tags):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(blocks(0), photometric="rgb", subfiletype=1, subifds=1, metadata=None, extratags=tags)
        writer.write(np.zeros((64, 80), np.uint16), photometric="cfa", metadata=None)
    for read in (read_image, frame_count):
        with pytest.raises(ImageError, match="camera RAW is not supported"):
            read(tmp_path / "a.tif")
