"""Upscaling of all image types, with networks whose results are known."""

import shutil
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms
from torch import Tensor, nn

from lamnet_models import LAMNet, ModelError, resolve_model, save_checkpoint
from lamnet_models.devices import PRECISIONS
from lamnet_models.errors import LAMNetError
from lamnet_models.image_io import Picture
from lamnet_models.inference import Upscaler, planner, upscale
from lamnet_models.inference.pixels import fill_transparent
from lamnet_models.inference.planner import TilePlanner
from lamnet_models.inference.sizing import TargetSize
from lamnet_models.inference.upscaler import UpscalerPool

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
    """Averages 5×5 pixels first, so that results depend on neighbors."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, stride=1))


def repeated(pixels: np.ndarray, scale: int = 2) -> np.ndarray:
    return pixels.repeat(scale, 0).repeat(scale, 1)


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


# Image types


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 2), (6, 5, 3), (6, 5, 4), (1, 1), (1, 7, 3), (7, 1, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("in_chans", [1, 3])
def test_upscale_integer_array_is_exact(shape, dtype, in_chans):
    pixels = noise(*shape, dtype=dtype)
    if shape[2:] in ((2,), (4,)):
        pixels[..., -1] |= 1  # visible everywhere
    result = upscale(pixels, Nearest(in_chans=in_chans))
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, repeated(pixels))


def test_upscale_16_bit_preserves_all_values():
    pixels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(upscale(pixels, Nearest(1, 1)), pixels)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_upscale_float_array_keeps_dtype(dtype):
    pixels = noise(6, 5, 3).astype(dtype) / 255
    result = upscale(pixels, Nearest())
    assert result.dtype == dtype
    np.testing.assert_allclose(result, repeated(pixels), rtol=1e-6)


def test_upscale_clamps_result():
    result = upscale(np.array([[0.0, 1.0]]), Nearest(in_chans=1, tint=(0.5,)))
    np.testing.assert_array_equal(result[0], [0.5, 0.5, 1, 1])


def test_upscale_accepts_strided_and_read_only_arrays():
    pixels = noise(6, 10, 3)
    pixels.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(upscale(pixels[::-1, ::2], Nearest()), repeated(pixels[::-1, ::2]))


@pytest.mark.parametrize("pixels", [noise(6, 5, 3, dtype=np.uint16), np.float32(noise(6, 5, 3) / 255)])
def test_upscale_accepts_foreign_byte_order(pixels):
    swapped = pixels.astype(pixels.dtype.newbyteorder("S"))
    for size in ({}, {"width": 9}):
        result = upscale(swapped, Nearest(), **size)
        assert result.dtype == pixels.dtype
        np.testing.assert_array_equal(result, upscale(pixels, Nearest(), **size))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 5), (2, 3, 4, 5), (2, 4, 4, 5)])
def test_upscale_tensor_keeps_dtype(shape, dtype):
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
def test_upscale_pillow_modes(mode, result_mode):
    colors = Image.fromarray(noise(6, 5, 3))
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(colors, ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
    elif mode in ("La", "RGBa", "PA"):
        image = colors.convert({"La": "LA", "RGBa": "RGBA", "PA": "P"}[mode]).convert(mode)
    elif mode.startswith("I"):
        image = Image.fromarray(noise(6, 5, dtype=np.uint16).astype({"I": np.int32, "I;16": np.uint16}[mode]))
    else:
        image = colors.convert(mode)
    assert image.mode == mode
    result = upscale(image, Nearest())
    assert (result.mode, result.size) == (result_mode, (10, 12))
    if mode == "LAB":
        assert np.abs(np.asarray(result).astype(int) - repeated(np.asarray(colors))).max() <= 20  # 8-bit Lab is coarse
    else:
        expected = image if mode.startswith("I") else image.convert(result_mode)
        np.testing.assert_array_equal(np.asarray(result), repeated(np.asarray(expected)))


def test_upscale_pillow_palette_with_transparency():
    image = Image.fromarray(noise(6, 5, 3)).quantize(8)
    image.info["transparency"] = 2
    alpha = np.asarray(upscale(image, Nearest()))[..., 3]
    np.testing.assert_array_equal(alpha, repeated(np.where(np.asarray(image) == 2, 0, 255)))


def test_upscale_pillow_keeps_profile_dpi_and_exif():
    image = Image.fromarray(noise(6, 5, 3))
    exif = Image.Exif()
    exif[274] = 6
    image.info |= {"icc_profile": SRGB, "dpi": (300, 300), "exif": exif.tobytes()}
    result = upscale(image, Nearest())
    assert result.info["icc_profile"] == SRGB
    assert result.info["dpi"] == (300, 300)
    assert result.getexif()[274] == 6
    assert result.size == (10, 12)  # the orientation is not applied


def test_upscale_picture_keeps_profile_and_dpi():
    result = upscale(Picture(noise(6, 5, 3), SRGB, (300.0, 150.0)), Nearest())
    assert (result.icc_profile, result.dpi) == (SRGB, (300.0, 150.0))
    np.testing.assert_array_equal(result.pixels, repeated(noise(6, 5, 3)))


# Gray and alpha


def test_upscale_gray_with_rgb_network_returns_luma():
    network = Nearest(tint=(0.1, 0.0, -0.1))
    result = upscale(np.full((4, 4), 0.5), network)
    assert (network.seen[0] == 0.5).all()
    assert network.seen[0].shape == (1, 3, 4, 4)
    np.testing.assert_allclose(result, 0.5 + 0.1 * (0.299 - 0.114), rtol=1e-6)


def test_upscale_rgb_with_gray_network_splits_channels():
    network = Nearest(in_chans=1)
    upscale(noise(4, 5, 3), network)
    assert [tuple(x.shape) for x in network.seen] == [(1, 1, 4, 5)] * 3


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("in_chans", [1, 3])
def test_upscale_batch_equals_single_images(in_chans, channels, memory_format):
    images = torch.rand(2, channels, 5, 6, generator=torch.Generator().manual_seed(0))
    network = Blur(in_chans=in_chans)
    expected = torch.stack([upscale(image, network) for image in images])
    torch.testing.assert_close(upscale(images.to(memory_format=memory_format), network), expected)


def test_upscale_accepts_network_channel_count():
    image = torch.rand(1, 4, 5, 6)
    network = Nearest(in_chans=4, tint=(0.0, 0.0, 0.0, 0.2))
    torch.testing.assert_close(upscale(image, network), network(image).clamp(0, 1).detach())


@pytest.mark.parametrize("level", [0, 77, 255])
def test_upscale_constant_alpha_is_unchanged(level):
    pixels = noise(6, 5, 4)
    pixels[..., 3] = level
    network = Blur(tint=(0.1, 0.2, 0.3))
    result = upscale(pixels, network)
    assert (result[..., 3] == level).all()
    np.testing.assert_array_equal(result[..., :3], upscale(pixels[..., :3], network))


def test_upscale_transparent_edge_has_no_fringe():
    y, x = np.mgrid[:40, :40]
    inside = (x - 20) ** 2 + (y - 20) ** 2 < 150
    pixels = np.zeros((40, 40, 4), np.uint8)  # black where transparent
    pixels[inside] = (250, 200, 150, 255)
    result = upscale(pixels, Blur())
    visible = result[..., 3] > 0
    assert (result[visible].min(0)[:3] >= (249, 199, 149)).all()
    assert 0 < result[visible][..., 3].min() < 128  # alpha itself was blurred
    naive = upscale(pixels[..., :3], Blur())
    assert naive[visible].min() < 50


def test_fill_transparent_uses_nearby_colors():
    color, alpha = torch.zeros(1, 3, 9, 33), torch.zeros(1, 1, 9, 33)
    color[..., :4], alpha[..., :4] = 0.9, 1
    color[..., -4:], alpha[..., -4:] = 0.3, 0.5
    filled = fill_transparent(color, alpha)
    visible = (alpha > 0).expand_as(color)
    torch.testing.assert_close(filled[visible], color[visible], rtol=0, atol=0)
    assert filled.min() >= 0.3 - 1e-6
    assert filled.max() <= 0.9 + 1e-6
    assert (filled[..., 4] - 0.9).abs().max() < 0.1
    assert (filled[..., -5] - 0.3).abs().max() < 0.1


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 7)])
def test_fill_transparent_fully_transparent_is_unchanged(size):
    color = torch.rand(1, 3, *size)
    torch.testing.assert_close(fill_transparent(color, torch.zeros(1, 1, *size)), color, rtol=0, atol=0)


# Tiles and memory


def test_upscale_tiled_matches_whole_and_reports_progress():
    calls = []
    pixels = noise(40, 50, 4)
    pixels[..., 3] |= 1
    result = upscale(pixels, Blur(), tile=16, tile_pad=4, progress=lambda done, total: calls.append((done, total)))
    difference = result.astype(int) - upscale(pixels, Blur(), tile=0)
    assert np.abs(difference).max() <= 1
    assert calls == [(done, 24) for done in range(1, 25)]  # twelve tiles of colors, twelve of alpha


def test_upscale_lamnet_tiled_is_close_to_whole():
    torch.manual_seed(0)
    network = LAMNet(scale=2, num_blocks=1, depth=1)
    image = torch.rand(1, 3, 70, 80)
    error = (upscale(image, network, tile=40) - upscale(image, network, tile=0)).abs().max()
    assert 0 < error < 1e-3


def tile_that_ran(shape, dtype=np.uint8, **options):
    return Upscaler(Nearest(), **options).run(noise(*shape, dtype=dtype)).plan.tile_option


@pytest.mark.filterwarnings("ignore:memory is short")
def test_run_auto_tile_depends_on_memory(monkeypatch):
    side = planner.AUTO_TILE
    monkeypatch.setattr(planner, "host_memory", lambda device: 10**15)
    assert tile_that_ran((side + 1, 10)) == 0
    monkeypatch.setattr(planner, "host_memory", lambda device: 10**6)
    assert tile_that_ran((side + 1, 10)) == side
    assert tile_that_ran((side, 10)) == 0
    assert tile_that_ran((65, 10), tile=64) == 64
    assert tile_that_ran((64, 10), tile=64) == 0


@pytest.mark.filterwarnings("ignore:memory is short")
def test_run_auto_tile_depends_on_channels_and_bit_depth(monkeypatch):
    height, width = 300, 40
    whole = TilePlanner(Nearest(), torch.device("cpu"), 0, 32)
    need = next(whole.plans((1, 3, height, width), 1)).estimate.host(True)
    monkeypatch.setattr(planner, "host_memory", lambda device: need)
    assert tile_that_ran((height, width, 3)) == 0
    assert tile_that_ran((height, width, 4)) == planner.AUTO_TILE
    assert tile_that_ran((height, width, 3), np.uint16) == planner.AUTO_TILE


@pytest.mark.parametrize("image", [noise(5, 6), noise(5, 6, 4), torch.rand(3, 5, 6), Image.new("LA", (6, 5))])
def test_run_image_equals_call(image):
    upscaler = Upscaler(Nearest())
    output = upscaler.run(image)
    assert type(output.image) is type(image)
    np.testing.assert_array_equal(np.asarray(output.image), np.asarray(upscaler(image)))


@pytest.mark.parametrize(
    ("precision", "dtype", "ran"),
    [
        ("auto", torch.float32, "fp32"),
        ("bf16", torch.float32, "bf16"),
        ("fp32", torch.float64, "fp64"),
        ("fp32", torch.bfloat16, "bf16"),
    ],
)
def test_run_precision_is_the_dtype_that_ran(precision, dtype, ran):
    assert Upscaler(Nearest().to(dtype), precision=precision).run(noise(5, 6)).precision == ran


class Greedy(Nearest):
    def forward(self, x: Tensor) -> Tensor:
        if x[0, 0].numel() > 50_000:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate a lot")
        return super().forward(x)


def test_upscale_out_of_memory_falls_back_or_fails():
    pixels = noise(400, 300)
    with pytest.warns(RuntimeWarning, match="out of memory with the whole image.*tiles of 256"):
        output = Upscaler(Greedy()).run(pixels)
    assert output.plan.tile_option == 256
    np.testing.assert_array_equal(output.image, repeated(pixels))
    with pytest.raises(LAMNetError, match="out of memory on cpu with 300x400 pixels"):
        upscale(pixels, Greedy(), tile=0)
    with pytest.raises(LAMNetError, match="tiles of 390 pixels"):
        upscale(pixels, Greedy(), tile=390)


def test_upscale_propagates_other_runtime_errors():
    network = nn.Conv2d(3, 3, 1)
    network.scale, network.in_chans = 1, 3
    network.forward = lambda x: x @ torch.zeros(2, 3)
    with pytest.raises(RuntimeError, match="shapes"):
        upscale(noise(4, 5, 3), network)


# Precision


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_precision_half_uses_autocast(precision):
    network = LAMNet(scale=2, num_blocks=1, depth=1)
    dtypes = []
    network.blocks[0].register_forward_hook(
        lambda *_: dtypes.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
    )
    image = torch.rand(1, 3, 12, 12)
    result = upscale(image, network, precision=precision)
    assert dtypes == [PRECISIONS[precision]]
    assert result.dtype == torch.float32
    assert (result - upscale(image, network, precision="fp32")).abs().max() < 0.02
    assert dtypes[1:] == [None]


def test_precision_auto_is_float32_on_cpu():
    network = LAMNet(scale=2, num_blocks=1, depth=1)
    dtypes = []
    network.conv_first.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
    upscale(noise(8, 8, 3), network)
    assert dtypes == [torch.float32]


class Overflowing(Nearest):
    """Overflows float16 in bright tiles only."""

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out / 0 if torch.is_autocast_enabled("cpu") and x.mean() > 0.5 else out


def test_precision_overflow_recomputed_with_one_warning():
    pixels = np.zeros((40, 10, 3), np.uint8)
    pixels[20:] = 255
    with pytest.warns(RuntimeWarning, match="float16 overflowed") as caught:
        result = upscale(pixels, Overflowing(), precision="fp16", tile=10, tile_pad=0)
    assert len(caught) == 1
    np.testing.assert_array_equal(result, repeated(pixels))


def test_upscale_non_finite_result_raises():
    with pytest.raises(LAMNetError, match="not finite"):
        upscale(noise(4, 5, 3), Nearest(tint=(float("nan"), 0.0, 0.0)))


# Models and devices


def test_upscaler_loads_checkpoint_path(tmp_path):
    network = LAMNet(scale=3, num_blocks=1, depth=1)
    save_checkpoint(network, tmp_path / "a.safetensors")
    for path in (tmp_path / "a.safetensors", str(tmp_path / "a.safetensors")):
        upscaler = Upscaler(path, scale=3)
        assert upscaler.scale == 3
        np.testing.assert_array_equal(upscaler(noise(8, 8, 3)), upscale(noise(8, 8, 3), network))


def test_upscale_default_model_is_x4():
    assert upscale(noise(8, 9, 3)).shape == (32, 36, 3)


def test_upscale_restores_training_mode():
    network = nn.Sequential(nn.Dropout(0.9), Nearest()).train()
    network.scale, network.in_chans = 2, 3
    network[1].eval()
    np.testing.assert_array_equal(upscale(noise(4, 5, 3), network), repeated(noise(4, 5, 3)))  # nothing dropped
    assert network[0].training
    assert not network[1].training


def test_upscaler_attributes():
    upscaler = Upscaler(Nearest(scale=3))
    assert upscaler.scale == 3
    assert upscaler.device == torch.device("cpu")
    assert Upscaler("lamnet_x4").device.type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 4}, "scale must be 2.*got 4"),
        ({"tile": -1}, "tile must be .*got -1"),
        ({"tile": "exactly"}, "tile must be .*got 'exactly'"),
        ({"tile_pad": -1}, "tile_pad must be .*got -1"),
        ({"precision": "fp8"}, "precision must be .*auto, fp32, fp16, bf16, got 'fp8'"),
        ({"device": "abacus"}, "device must be .*cpu.*got 'abacus'"),
        ({"device": "cuda:99"}, "device.*cuda:99"),
    ],
)
def test_upscaler_invalid_argument(arguments, message):
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
        (np.zeros((4, 5), np.longdouble), f"float64, got {np.dtype(np.longdouble)}"),
        (noise(4, 5, 5), "5 channels"),
        (noise(4), "shape"),
        (noise(0, 5, 3), "shape"),
        (torch.zeros(3, 4, 5, dtype=torch.uint8), "floating-point"),
        (torch.zeros(4, 5), "shape"),
        (torch.zeros(3, 4, 0), "shape"),
        (Image.fromarray(np.zeros((4, 5), np.float32)), "mode F"),
        (Image.fromarray(np.full((4, 5), 70_000, np.int32)), "70000"),
        ("photo.png", "got str"),
    ],
)
@pytest.mark.parametrize("size", [{}, {"width": 9}])
def test_upscale_invalid_image(image, message, size):
    with pytest.raises(ValueError, match=message):
        upscale(image, Nearest(), **size)


def test_precision_fp16_on_cpu_terminates():
    """oneDNN's float16 depthwise convolutions of 16 channels never return on some CPUs."""
    model = LAMNet(scale=2, embed_dim=32, num_blocks=1, depth=1)
    image = np.zeros((24, 32, 3), np.uint8)
    assert Upscaler(model, precision="fp16")(image).shape == (48, 64, 3)


# Weights for photographs


def test_upscale_weights_and_strength(photo_weights):
    image = noise(6, 5, 3)
    expected = upscale(image, "lamnet_x4.photo")
    assert np.array_equal(upscale(image, weights="photo"), expected)
    assert np.array_equal(Upscaler("lamnet_x4", strength=1)(image), expected)
    assert np.array_equal(upscale(image, strength=0), upscale(image, "lamnet_x4.clean"))
    half = upscale(image, scale=2, strength=0.5)
    assert np.array_equal(half, upscale(image, resolve_model("lamnet_x2", strength=0.5)))
    assert not np.array_equal(half, upscale(image, scale=2, strength=1))


def test_upscaler_weights_with_module_raises():
    with pytest.raises(ValueError, match=r"^weights and strength .*Nearest"):
        Upscaler(Nearest(), weights="photo")
    with pytest.raises(ValueError, match=r"^strength .*got 2"):
        upscale(noise(4, 4, 3), scale=1.5, strength=2)


def test_upscaler_pool_uses_scales_with_weights(photo_weights, monkeypatch, tmp_path):
    size = TargetSize(2.5)
    assert UpscalerPool(None, size).for_size(6, 8).scale == 3
    assert UpscalerPool(None, size, weights="photo").for_size(6, 8).scale == 4  # lamnet_x3 has no such weights
    assert UpscalerPool(None, TargetSize(1.5), weights="photo").for_size(6, 8).scale == 2
    with pytest.raises(ModelError, match=r"lamnet_x3\.photo"):
        UpscalerPool(None, TargetSize(3), weights="photo")
    shutil.copy(photo_weights / "lamnet_x2.photo_v1.safetensors", tmp_path)
    monkeypatch.setattr("lamnet_models.names._PACKAGED", tmp_path)
    with pytest.raises(ValueError, match=r"^scale .*at most 2, got 2\.5"):
        UpscalerPool(None, size, weights="photo")
    (tmp_path / "lamnet_x2.photo_v1.safetensors").unlink()
    with pytest.raises(ModelError, match=r"lamnet_x4\.photo"):
        UpscalerPool(None, size, weights="photo")


@pytest.mark.parametrize(
    ("model", "scale", "options", "quality", "suggestion"),
    [
        (None, None, {}, 89, "photo"),
        (None, None, {}, 90, None),
        (None, None, {}, None, None),
        (None, 2.5, {}, 50, None),  # lamnet_x3
        (None, 1.5, {}, 50, "photo"),
        ("lamnet_x2", None, {}, 50, "photo"),
        ("lamnet_x3", None, {}, 50, None),
        ("lamnet_x2.clean", None, {}, 50, None),
        ("lamnet_x2", None, {"weights": "clean"}, 50, None),
        ("lamnet_x2", None, {"strength": 0.5}, 50, None),
        (Nearest(), None, {}, 50, None),
    ],
)
def test_suggested_weights(photo_weights, model, scale, options, quality, suggestion):
    upscalers = UpscalerPool(model, TargetSize(scale), **options)
    assert upscalers.suggested_weights(Picture(noise(6, 8, 3), jpeg_quality=quality)) == suggestion
