"""Images of every kind enlarged, with networks simple enough to know the result."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms
from torch import Tensor, nn

from lamnet_models import LAMNet, save_checkpoint
from lamnet_models.errors import LAMNetError
from lamnet_models.images import Picture
from lamnet_models.upscaling import Upscaler, inference, strategy, upscale
from lamnet_models.upscaling.transparency import fill_transparent

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


class Nearest(nn.Module):
    """Repeats pixels, after adding ``tint`` to the channels."""

    def __init__(self, scale: int = 2, in_chans: int = 3, tint: tuple[float, ...] | None = None) -> None:
        super().__init__()
        self.scale, self.in_chans = scale, in_chans
        self.tint = nn.Parameter(torch.tensor(tint or (0.0,) * in_chans).view(-1, 1, 1))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return F.interpolate(x + self.tint, scale_factor=self.scale)


class Blur(Nearest):
    """Averages 5×5 pixels first: what lies beside a pixel matters."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, stride=1))


def repeated(pixels: np.ndarray, scale: int = 2) -> np.ndarray:
    return pixels.repeat(scale, 0).repeat(scale, 1)


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


# Kinds


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 2), (6, 5, 3), (6, 5, 4), (1, 1), (1, 7, 3), (7, 1, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("in_chans", [1, 3])
def test_integer_arrays_come_back_exact(shape, dtype, in_chans):
    pixels = noise(*shape, dtype=dtype)
    if shape[2:] in ((2,), (4,)):
        pixels[..., -1] |= 1  # visible everywhere
    result = upscale(pixels, Nearest(in_chans=in_chans))
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, repeated(pixels))


def test_all_16_bit_values_survive():
    pixels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(upscale(pixels, Nearest(1, 1)), pixels)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_arrays(dtype):
    pixels = noise(6, 5, 3).astype(dtype) / 255
    result = upscale(pixels, Nearest())
    assert result.dtype == dtype
    np.testing.assert_allclose(result, repeated(pixels), rtol=1e-6)


def test_results_are_cut_to_the_range():
    result = upscale(np.array([[0.0, 1.0]]), Nearest(in_chans=1, tint=(0.5,)))
    np.testing.assert_array_equal(result[0], [0.5, 0.5, 1, 1])


def test_arrays_need_not_be_contiguous_or_writable():
    pixels = noise(6, 10, 3)
    pixels.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(upscale(pixels[::-1, ::2], Nearest()), repeated(pixels[::-1, ::2]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 5), (2, 3, 4, 5), (2, 4, 4, 5)])
def test_tensors(shape, dtype):
    image = torch.rand(shape).to(dtype).requires_grad_()
    result = upscale(image, Nearest())
    assert result.dtype == dtype
    assert not result.requires_grad
    expected = F.interpolate(image.detach().view(-1, *shape[-3:]), scale_factor=2).view(result.shape)
    torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-6 if dtype.itemsize > 2 else 1e-2)


@pytest.mark.parametrize(
    ("mode", "result_mode"),
    {
        "1": "L",
        "L": "L",
        "LA": "LA",
        "La": "LA",
        "P": "RGB",
        "PA": "RGBA",
        "RGB": "RGB",
        "RGBX": "RGB",
        "RGBA": "RGBA",
        "RGBa": "RGBA",
        "CMYK": "RGB",
        "YCbCr": "RGB",
        "HSV": "RGB",
        "LAB": "RGB",
        "I": "I;16",
        "I;16": "I;16",
    }.items(),
)
def test_pillow_images_of_every_mode(mode, result_mode):
    colours = Image.fromarray(noise(6, 5, 3))
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(colours, ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
    elif mode in ("La", "RGBa", "PA"):
        image = colours.convert({"La": "LA", "RGBa": "RGBA", "PA": "P"}[mode]).convert(mode)
    elif mode.startswith("I"):
        image = Image.fromarray(noise(6, 5, dtype=np.uint16).astype({"I": np.int32, "I;16": np.uint16}[mode]))
    else:
        image = colours.convert(mode)
    assert image.mode == mode
    result = upscale(image, Nearest())
    assert (result.mode, result.size) == (result_mode, (10, 12))
    if mode == "LAB":
        assert np.abs(np.asarray(result).astype(int) - repeated(np.asarray(colours))).max() <= 20  # 8-bit Lab is coarse
    else:
        expected = image if mode.startswith("I") else image.convert(result_mode)
        np.testing.assert_array_equal(np.asarray(result), repeated(np.asarray(expected)))


def test_pillow_palette_with_transparency():
    image = Image.fromarray(noise(6, 5, 3)).quantize(8)
    image.info["transparency"] = 2
    alpha = np.asarray(upscale(image, Nearest()))[..., 3]
    np.testing.assert_array_equal(alpha, repeated(np.where(np.asarray(image) == 2, 0, 255)))


def test_pillow_images_keep_profile_resolution_and_exif():
    image = Image.fromarray(noise(6, 5, 3))
    exif = Image.Exif()
    exif[274] = 6
    image.info |= {"icc_profile": SRGB, "dpi": (300, 300), "exif": exif.tobytes()}
    result = upscale(image, Nearest())
    assert result.info["icc_profile"] == SRGB
    assert result.info["dpi"] == (300, 300)
    assert result.getexif()[274] == 6
    assert result.size == (10, 12)  # as it lay


def test_pictures_keep_profile_and_resolution():
    result = upscale(Picture(noise(6, 5, 3), SRGB, (300.0, 150.0)), Nearest())
    assert (result.icc_profile, result.dpi) == (SRGB, (300.0, 150.0))
    np.testing.assert_array_equal(result.pixels, repeated(noise(6, 5, 3)))


# Grey and alpha


def test_grey_is_the_luma_of_three_equal_channels():
    network = Nearest(tint=(0.1, 0.0, -0.1))
    result = upscale(np.full((4, 4), 0.5), network)
    assert (network.seen[0] == 0.5).all()
    assert network.seen[0].shape == (1, 3, 4, 4)
    np.testing.assert_allclose(result, 0.5 + 0.1 * (0.299 - 0.114), rtol=1e-6)


def test_a_network_for_grey_gets_each_channel_by_itself():
    network = Nearest(in_chans=1)
    upscale(noise(4, 5, 3), network)
    assert [tuple(x.shape) for x in network.seen] == [(3, 1, 4, 5)]


def test_a_network_may_have_channels_of_its_own():
    image = torch.rand(1, 4, 5, 6)
    network = Nearest(in_chans=4, tint=(0.0, 0.0, 0.0, 0.2))
    torch.testing.assert_close(upscale(image, network), network(image).clamp(0, 1).detach())


@pytest.mark.parametrize("level", [0, 77, 255])
def test_alpha_of_one_value_stays_that(level):
    pixels = noise(6, 5, 4)
    pixels[..., 3] = level
    network = Blur(tint=(0.1, 0.2, 0.3))
    result = upscale(pixels, network)
    assert (result[..., 3] == level).all()
    np.testing.assert_array_equal(result[..., :3], upscale(pixels[..., :3], network))


def test_transparent_pixels_leave_no_fringe():
    y, x = np.mgrid[:40, :40]
    inside = (x - 20) ** 2 + (y - 20) ** 2 < 150
    pixels = np.zeros((40, 40, 4), np.uint8)  # black where nothing is
    pixels[inside] = (250, 200, 150, 255)
    result = upscale(pixels, Blur())
    visible = result[..., 3] > 0
    assert (result[visible].min(0)[:3] >= (249, 199, 149)).all()
    assert 0 < result[visible][..., 3].min() < 128  # alpha itself was blurred
    naive = upscale(pixels[..., :3], Blur())
    assert naive[visible].min() < 50


def test_filling_takes_colours_from_near():
    colour, alpha = torch.zeros(1, 3, 9, 33), torch.zeros(1, 1, 9, 33)
    colour[..., :4], alpha[..., :4] = 0.9, 1
    colour[..., -4:], alpha[..., -4:] = 0.3, 0.5
    filled = fill_transparent(colour, alpha)
    visible = (alpha > 0).expand_as(colour)
    torch.testing.assert_close(filled[visible], colour[visible], rtol=0, atol=0)
    assert filled.min() >= 0.3 - 1e-6
    assert filled.max() <= 0.9 + 1e-6
    assert (filled[..., 4] - 0.9).abs().max() < 0.1
    assert (filled[..., -5] - 0.3).abs().max() < 0.1


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 7)])
def test_an_invisible_image_stays_as_it_is(size):
    colour = torch.rand(1, 3, *size)
    torch.testing.assert_close(fill_transparent(colour, torch.zeros(1, 1, *size)), colour, rtol=0, atol=0)


# Tiles and memory


def test_tiles_and_progress():
    calls = []
    pixels = noise(40, 50, 4)
    pixels[..., 3] |= 1
    result = upscale(pixels, Blur(), tile=16, tile_pad=4, progress=lambda done, total: calls.append((done, total)))
    difference = result.astype(int) - upscale(pixels, Blur(), tile=0)
    assert np.abs(difference).max() <= 1
    assert calls == [(done, 24) for done in range(1, 25)]  # twelve tiles of colours, twelve of alpha


def test_tiles_of_lamnet_are_near_the_whole():
    torch.manual_seed(0)
    network = LAMNet(scale=2, num_blocks=1, depth=1)
    image = torch.rand(1, 3, 70, 80)
    error = (upscale(image, network, tile=40) - upscale(image, network, tile=0)).abs().max()
    assert 0 < error < 1e-3


def test_auto_takes_the_whole_where_memory_allows(monkeypatch):
    upscaler = Upscaler(Nearest())
    monkeypatch.setattr(strategy, "host_memory", lambda device: 10**15)
    assert upscaler.tile_for(5000, 5000) == 0
    monkeypatch.setattr(strategy, "host_memory", lambda device: 10**6)
    assert upscaler.tile_for(5000, 5000) == strategy.AUTO_TILE
    assert upscaler.tile_for(strategy.AUTO_TILE, 10) == 0
    assert Upscaler(Nearest(), tile=64).tile_for(65, 10) == 64
    assert Upscaler(Nearest(), tile=64).tile_for(64, 10) == 0


class Greedy(Nearest):
    def forward(self, x: Tensor) -> Tensor:
        if x[0, 0].numel() > 50_000:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate a lot")
        return super().forward(x)


def test_out_of_memory_leads_to_tiles_or_one_line():
    pixels = noise(400, 300)
    with pytest.warns(RuntimeWarning, match="out of memory with the whole image: done in tiles of 256"):
        result = upscale(pixels, Greedy())
    np.testing.assert_array_equal(result, repeated(pixels))
    with pytest.raises(LAMNetError, match="out of memory on cpu with 300x400 pixels; take smaller tiles"):
        upscale(pixels, Greedy(), tile=0)
    with pytest.raises(LAMNetError, match="tiles of 390 pixels"):
        upscale(pixels, Greedy(), tile=390)


def test_other_errors_of_a_network_are_not_hidden():
    network = nn.Conv2d(3, 3, 1)
    network.scale, network.in_chans = 1, 3
    network.forward = lambda x: x @ torch.zeros(2, 3)
    with pytest.raises(RuntimeError, match="shapes"):
        upscale(noise(4, 5, 3), network)


# Precision


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_runs_under_autocast(precision):
    network = LAMNet(scale=2, num_blocks=1, depth=1)
    kinds = []
    network.conv_first.register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    image = torch.rand(1, 3, 12, 12)
    result = upscale(image, network, precision=precision)
    assert kinds == [inference.PRECISIONS[precision]]
    assert result.dtype == torch.float32
    assert 0 < (result - upscale(image, network, precision="fp32")).abs().max() < 0.02
    assert kinds[1:] == [torch.float32]


def test_auto_is_float32_on_the_cpu():
    network = LAMNet(scale=2, num_blocks=1, depth=1)
    kinds = []
    network.conv_first.register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    upscale(noise(8, 8, 3), network)
    assert kinds == [torch.float32]


class Overflowing(Nearest):
    """Leaves float16's range in bright tiles alone."""

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out / 0 if torch.is_autocast_enabled("cpu") and x.mean() > 0.5 else out


def test_overflow_is_done_again_in_float32_with_one_warning():
    pixels = np.zeros((40, 10, 3), np.uint8)
    pixels[20:] = 255
    with pytest.warns(RuntimeWarning, match="float16 overflowed: done again in float32") as caught:
        result = upscale(pixels, Overflowing(), precision="fp16", tile=10, tile_pad=0)
    assert len(caught) == 1
    np.testing.assert_array_equal(result, repeated(pixels))


def test_results_that_are_never_finite_are_an_error():
    with pytest.raises(LAMNetError, match="not finite"):
        upscale(noise(4, 5, 3), Nearest(tint=(float("nan"), 0.0, 0.0)))


# Models and devices


def test_models_by_path(tmp_path):
    network = LAMNet(scale=3, num_blocks=1, depth=1)
    save_checkpoint(network, tmp_path / "a.safetensors")
    for path in (tmp_path / "a.safetensors", str(tmp_path / "a.safetensors")):
        upscaler = Upscaler(path, scale=3)
        assert upscaler.scale == 3
        np.testing.assert_array_equal(upscaler(noise(8, 8, 3)), upscale(noise(8, 8, 3), network))


def test_the_default_model_enlarges_four_times():
    assert upscale(noise(8, 9, 3)).shape == (32, 36, 3)


def test_a_network_is_left_in_the_mode_it_was_in():
    network = nn.Sequential(nn.Dropout(0.9), Nearest()).train()
    network.scale, network.in_chans = 2, 3
    network[1].eval()
    np.testing.assert_array_equal(upscale(noise(4, 5, 3), network), repeated(noise(4, 5, 3)))  # nothing dropped
    assert network[0].training
    assert not network[1].training


def test_an_upscaler_says_what_it_found():
    upscaler = Upscaler(Nearest(scale=3))
    assert upscaler.scale == 3
    assert upscaler.device == torch.device("cpu")
    assert Upscaler("lamnet_x4").device.type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 4}, "scale is 4, but the model enlarges 2 times"),
        ({"tile": -1}, "tile is -1"),
        ({"tile": "exactly"}, "tile is 'exactly'"),
        ({"tile_pad": -1}, "tile_pad is -1"),
        ({"precision": "fp8"}, "precision is 'fp8'.*auto, fp32, fp16, bf16"),
        ({"device": "abacus"}, "^device .*auto, cpu.*'abacus'"),
        ({"device": "cuda:99"}, "^device .*'cuda:99'"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Upscaler(Nearest(), **arguments)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (noise(4, 5, 3) / 1.0, "values from .* to 2"),
        (np.full((4, 5), np.nan), "values from nan"),
        (np.full((4, 5), -0.1), "values from -0.1"),
        (noise(4, 5, 3).astype(np.int64), "int64"),
        (noise(4, 5, 3) > 3, "bool"),
        (noise(4, 5, 5), "5 channels"),
        (noise(4), "shape"),
        (noise(0, 5, 3), "shape"),
        (torch.zeros(3, 4, 5, dtype=torch.uint8), "floating-point"),
        (torch.zeros(4, 5), "shape"),
        (Image.fromarray(np.zeros((4, 5), np.float32)), "mode F"),
        (Image.fromarray(np.full((4, 5), 70_000, np.int32)), "70000"),
        ("photo.png", "type str"),
    ],
)
def test_wrong_images(image, message):
    with pytest.raises(ValueError, match=message):
        upscale(image, Nearest())


def test_half_precision_returns_on_a_processor_at_any_width():
    """oneDNN's float16 depthwise convolutions of 16 channels never did, on some."""
    model = LAMNet(scale=2, channels=32, num_blocks=1, depth=1)
    image = np.zeros((24, 32, 3), np.uint8)
    assert Upscaler(model, precision="fp16")(image).shape == (48, 64, 3)
