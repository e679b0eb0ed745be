"""Target sizes: fractional factors, widths and heights."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lamnet_models.errors import LAMNetError
from lamnet_models.image_io import Picture
from lamnet_models.inference import upscale, upscaler
from lamnet_models.inference.sizing import TargetSize
from lamnet_models.inference.upscaler import UpscalerPool
from lamnet_models.resize import imresize


class Nearest(nn.Module):
    """Repeats pixels."""

    scale, in_chans = 4, 3

    def forward(self, x):
        return x.repeat_interleave(4, 2).repeat_interleave(4, 3)


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize(
    ("size", "result", "network_scale", "suffix"),
    [
        (TargetSize(), (240, 400), None, "_x4"),
        (TargetSize(3), (240, 400), 3, "_x3"),
        (TargetSize(2.5), (150, 250), 3, "_x2.5"),
        (TargetSize(1.5), (90, 150), 2, "_x1.5"),
        (TargetSize(3.01), (181, 301), 4, "_x3.01"),
        (TargetSize(width=150), (90, 150), 2, "_w150"),
        (TargetSize(width=400), (240, 400), 4, "_w400"),
        (TargetSize(height=121), (121, 202), 3, "_h121"),
        (TargetSize(width=300, height=90), (90, 150), 2, "_300x90"),
        (TargetSize(width=150, height=190), (90, 150), 2, "_150x190"),
    ],
)
def test_target_size(size, result, network_scale, suffix):
    assert size.result(60, 100, 4) == result
    assert size.network_scale(60, 100) == network_scale
    assert size.suffix(4) == suffix


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        (TargetSize(width=100), "60 pixels to .*must be larger"),
        (TargetSize(width=80, height=900), "60 pixels to .*must be larger"),
        (TargetSize(width=401), "401x.*at most 4"),
        (TargetSize(4.5), "450x270.*at most 4"),
    ],
)
def test_target_size_result_out_of_range(size, reason):
    with pytest.raises(LAMNetError, match=reason):
        size.result(60, 100, 4)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"scale": 0.5}, "scale must be .*got 0.5"),
        ({"scale": float("nan")}, "scale must be .*got nan"),
        ({"width": 0}, "width must be .*got 0"),
        ({"height": 1.5}, "height must be .*got 1.5"),
        ({"scale": 2, "width": 9}, "scale .*width"),
    ],
)
def test_target_size_invalid(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        TargetSize(**arguments)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_upscale_fractional_scale_equals_imresize(dtype, channels):
    shape = (12, 10) if channels is None else (12, 10, channels)
    pixels = noise(*shape, dtype=dtype) if dtype != np.float32 else noise(*shape).astype(dtype) / 255
    if channels in (2, 4):
        pixels[..., -1] = pixels[..., -1].max()
    result = upscale(pixels, Nearest(), scale=2.5)
    expected = imresize(pixels.repeat(4, 0).repeat(4, 1), size=(30, 25), pipeline="double")
    assert result.dtype == dtype
    np.testing.assert_allclose(result, expected.clip(0, 1) if dtype == np.float32 else expected, atol=1e-6)


def test_upscale_to_size_keeps_image_type():
    assert upscale(torch.rand(2, 3, 10, 20), Nearest(), width=50).shape == (2, 3, 25, 50)
    image = Image.fromarray(noise(10, 20, 3))
    image.info["dpi"] = (300, 300)
    result = upscale(image, Nearest(), height=35)
    assert (result.size, result.info["dpi"]) == ((70, 35), (300, 300))
    picture = upscale(Picture(noise(10, 20, 4), dpi=(96.0, 96.0)), Nearest(), width=79)
    assert (picture.pixels.shape, picture.dpi) == ((40, 79, 4), (96, 96))


def test_upscale_fractional_scale_transparent_edge_has_no_fringe():
    pixels = np.zeros((20, 20, 4), np.uint8)  # black where transparent
    pixels[:, :10] = (250, 200, 150, 255)
    result = upscale(pixels, Nearest(), scale=2.5)
    assert (result[result[..., 3] > 0][:, :3] >= (249, 199, 149)).all()
    assert 0 < result[25, 24:26, 3].min() < 255  # the edge itself lies between two pixels


def test_pool_uses_smallest_sufficient_scale():
    assert upscale(noise(8, 9, 3), scale=1.5).shape == (12, 14, 3)
    upscalers = UpscalerPool(None, TargetSize(width=150))
    assert [upscalers.for_size(10, width).scale for width in (40, 60, 100)] == [4, 3, 2]
    assert upscalers.for_size(10, 40) is upscalers.for_size(20, 40)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"tile": -1}, "tile"),
        ({"tile_pad": 0.5}, "tile_pad"),
        ({"precision": "fp8"}, "precision"),
        ({"device": "abacus"}, "device"),
        ({"backend": "abacus"}, "backend"),
        ({"backend": "onnxruntime", "tile": "exact"}, "tile"),
        ({"max_memory": "4X"}, "max_memory"),
        ({"max_memory": "10M"}, "max_memory"),
    ],
)
@pytest.mark.parametrize("size", [TargetSize(), TargetSize(2.5), TargetSize(width=150)])
def test_pool_invalid_argument_raises_in_constructor(size, arguments, name):
    with pytest.raises(ValueError, match=rf"^{name}\b"):
        UpscalerPool(None, size, **arguments)


def test_pool_loads_networks_on_demand(monkeypatch):
    loaded = []
    monkeypatch.setattr(upscaler, "resolve_model", lambda name, **_: loaded.append(name) or Nearest())
    upscalers = UpscalerPool(None, TargetSize(width=79), max_memory="100G")
    assert (loaded, upscalers.scale) == ([], 4)
    for _ in range(2):
        assert upscalers.run(noise(10, 20, 3)).image.shape == (40, 79, 3)
    assert loaded == ["lamnet_x4"]


def test_pool_scale_out_of_range():
    with pytest.raises(ValueError, match=r"scale must be at most 4, got 4\.5"):
        UpscalerPool(None, TargetSize(4.5))
    with pytest.raises(ValueError, match=r"scale must be 4.*got 3"):
        UpscalerPool(Nearest(), TargetSize(3))


def test_imresize_to_size_equals_scale():
    image = noise(40, 60, 3)
    np.testing.assert_array_equal(imresize(image, size=(10, 15)), imresize(image, 0.25))
    tall = np.concatenate([image] * 20)  # more rows than are processed at once
    np.testing.assert_array_equal(imresize(tall, 0.5)[100:300], imresize(tall[180:620], 0.5)[10:210])
    with pytest.raises(ValueError, match="size"):
        imresize(image, 2, size=(4, 4))
