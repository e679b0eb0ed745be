"""Attribution maps and receptive fields of networks with known results."""

import numpy as np
import pytest
import torch
from PIL import Image
from spandrel.architectures.Compact import Compact
from torch import nn

from lamnet_models import ImageError, LAMNet, ModelError
from lamnet_models.benchmarking import PEERS
from lamnet_models.image_io.grids import Box
from lamnet_models.integrations.spandrel import load_peer
from lamnet_models.paper import (
    Differentiable,
    attribution,
    explain,
    gini,
    prepare_input,
    receptive_field,
    to_tensor,
)


class Blur(nn.Module):
    """Nearest-neighbor upscaling after a mean filter."""

    in_chans = 3

    def __init__(self, size=3, scale=2):
        super().__init__()
        self.scale = scale
        self.pool = nn.AvgPool2d(size, 1, size // 2, count_include_pad=False)

    def forward(self, x):
        return self.pool(x).repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


def tiny():
    torch.manual_seed(0)
    return LAMNet(scale=2, embed_dim=8, num_blocks=1, depth=2, num_heads=2).eval()


def photo(height=80, width=96):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("size", "extents"), [(1, {1}), (3, {3}), (7, {5, 7})])
def test_receptive_field_of_mean_filter(size, extents):
    field = receptive_field(Blur(size), [torch.rand(1, 3, 20, 21) for _ in range(2)])
    seen = np.argwhere(field.map > 0)
    assert seen.min(0).tolist() == [10 - size // 2, 10 - size // 2]
    assert seen.max(0).tolist() == [10 + size // 2, 10 + size // 2]
    np.testing.assert_allclose(field.map[field.map > 0], 1)
    assert set(field.extent.values()) <= extents
    assert field.extent[0.99] == size


def test_attribution_is_within_receptive_field():
    patch = Box(12, 16, 8, 6)  # of input columns 6 to 9 and rows 8 to 10
    result = attribution(Blur(3), torch.rand(1, 3, 20, 24), patch, steps=4)
    seen = np.argwhere(result.map > 0)
    assert (seen.min(0).tolist(), seen.max(0).tolist()) == ([7, 5], [11, 10])
    assert result.map.max() == 1
    assert result.diffusion == pytest.approx(100 * (1 - gini(result.map)))
    assert result.patch == patch


def test_attribution_total_converges_to_change():
    torch.manual_seed(0)
    image = torch.rand(1, 3, 18, 18)
    errors = []
    for steps in (5, 40):
        result = attribution(tiny(), image, steps=steps)
        errors.append(abs(result.total / result.change - 1))
    assert errors[1] < 0.01
    assert errors[1] < errors[0]


def test_gini():
    assert gini(np.ones((4, 5))) == pytest.approx(0)
    assert gini(np.eye(1, 10)) == pytest.approx(0.9)
    assert gini(np.array([1.0, 3.0])) == pytest.approx(0.25)
    assert gini(np.zeros(4)) == 0


def test_prepare_input():
    image = photo()
    assert prepare_input(image, 2, 16)[0].shape == (16, 16, 3)
    whole, region = prepare_input(image, 2, 100)
    assert (whole.shape, region) == ((40, 48, 3), Box(0, 0, 96, 80))
    crop, region = prepare_input(image, 2, 16, (50, 41), downscale=False)
    assert region == Box(42, 33, 16, 16)
    assert np.array_equal(crop, region.crop(image))
    corner, region = prepare_input(image, 4, 16, (95, 79), downscale=False)
    assert region == Box(80, 64, 16, 16)
    assert np.array_equal(corner, region.crop(image))
    assert prepare_input("chelsea", 4, 32)[0].shape == (32, 32, 3)
    with pytest.raises(ImageError, match=r"128×128 .*96×80"):
        prepare_input(image, 8, 16)
    with pytest.raises(ValueError, match=r"^at .*96×80 .*96,0"):
        prepare_input(image, 2, 16, (96, 0))
    with pytest.raises(ImageError, match=r"none\.png"):
        prepare_input("none.png", 2, 16)


def test_differentiable_keeps_network_unchanged():
    model = tiny().train()
    Differentiable(model)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    gray = to_tensor(photo(), LAMNet(scale=2, embed_dim=8, num_blocks=1, depth=1, num_heads=2, in_chans=1))
    assert gray.shape == (1, 1, 80, 96)
    with pytest.raises(ModelError, match=r"in_chans .*\b4"):
        to_tensor(photo(), LAMNet(scale=2, embed_dim=8, num_blocks=1, depth=1, num_heads=2, in_chans=4))


def test_differentiable_peers(tmp_path):
    torch.manual_seed(0)
    state = {"compact": Compact(num_feat=8, num_conv=2, upscale=2), "swinir": PEERS["swinir_light"](2)}
    for name, network in state.items():
        torch.save(network.state_dict(), tmp_path / f"{name}.pth")
        peer = load_peer(tmp_path / f"{name}.pth")
        image = torch.rand(1, 3, 17, 12, requires_grad=True)
        output = Differentiable(peer)(image)
        (gradient,) = torch.autograd.grad(output[..., 6, 6].sum(), image)
        assert gradient.abs().sum() > 0
        if name == "compact":
            torch.testing.assert_close(output.clamp(0, 1), peer(image.detach()))
        assert output.shape == (1, 3, 34, 24)


def test_explain_networks(tmp_path):
    result = explain(photo(), [tiny(), "safmn"], scale=2, side=24, steps=1, samples=1)
    ours, peer = result.networks
    assert (ours.model, ours.trained, peer.model, peer.trained) == ("LAMNet", True, "safmn", False)
    assert ours.image.shape == (24, 24, 3)
    assert ours.to_dict()["patch"] == {"left": 16, "top": 16, "width": 16, "height": 16}
    assert ours.to_dict()["receptive_field_extent"].keys() == {"50%", "90%", "99%"}
    for suffix in ("png", "svg"):
        result.draw(tmp_path / f"explained.{suffix}")
    with Image.open(tmp_path / "explained.png") as picture:
        assert picture.width > 500


@pytest.mark.parametrize(
    ("at", "side", "downscale", "corner"),
    [
        ((10, 70), 64, True, (2, 62)),  # the whole photograph; SR pixels are its pixels
        ((10, 70), 96, False, (13, 133)),  # two SR pixels per pixel
        ((95, 0), 24, True, (32, 0)),  # of 48×48 SR pixels from column 48
        ((95, 79), 24, False, (32, 32)),
        ((48, 40), 24, True, (16, 16)),
    ],
)
def test_explain_patch_is_around_point(at, side, downscale, corner):
    result = explain(photo(), [tiny()], side=side, at=at, downscale=downscale, steps=1, samples=1)
    assert result.networks[0].attribution.patch == Box(*corner, 16, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 4}, "side .*16.*4"),
        ({"patch": 1}, "patch .*1"),
        ({"samples": 0}, "samples .*0"),
        ({"steps": 0}, "steps .*0"),
        ({"models": []}, "models .*empty"),
        ({"at": (1000, 0)}, "at .*1000,0"),
    ],
)
def test_explain_invalid_arguments(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        explain(photo(), **({"models": [tiny()]} | options))


def test_attribution_invalid_arguments():
    with pytest.raises(ValueError, match=r"^patch .*40×40"):
        attribution(Blur(), torch.rand(1, 3, 20, 20), Box(30, 0, 16, 16))
    with pytest.raises(ValueError, match=r"^sigma .*\b0"):
        attribution(Blur(), torch.rand(1, 3, 20, 20), sigma=0)
    with pytest.raises(ValueError, match=r"^images .*empty"):
        receptive_field(Blur(), [])
