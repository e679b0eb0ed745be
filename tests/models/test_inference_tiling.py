"""Blended tiling."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lamnet_models.inference.pixels import Pixels
from lamnet_models.inference.tiling import forward_tiled, tile_count


def run_tiled(network, image, scale, tile, pad, progress=None):
    """Return the result of ``forward_tiled`` for an image in [0, 1], with the image's dtype."""
    out = Pixels(image).empty_upscaled(scale, in_file=False)
    forward_tiled(network, Pixels(image), out, scale, tile, pad, progress)
    return out.data


class Local:
    """Convolution with a receptive radius of ``radius`` pixels and zero padding."""

    def __init__(self, scale: int, radius: int) -> None:
        self.scale = scale
        self.kernel = torch.randn(2 * scale**2, 2, 2 * radius + 1, 2 * radius + 1, dtype=torch.float64) / radius
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, x: Tensor) -> Tensor:
        self.seen.append(tuple(x.shape))
        return F.pixel_shuffle(F.conv2d(x, self.kernel, padding="same").sigmoid(), self.scale)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (40, 61), (64, 64), (33, 17)])
@pytest.mark.parametrize(("tile", "pad"), [(16, 8), (7, 9), (32, 8), (1, 8), (200, 8)])
@pytest.mark.parametrize("scale", [1, 3])
def test_forward_tiled_local_network_equals_whole(size, tile, pad, scale):
    network, image = Local(scale, radius=4), torch.rand(2, 2, *size, dtype=torch.float64)
    whole = network(image)
    tiled = run_tiled(network, image, scale, tile, pad)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-12 * whole.abs().max().item())


def test_forward_tiled_small_pad_differs_only_near_edges():
    network, image = Local(2, radius=4), torch.rand(1, 2, 64, 64, dtype=torch.float64)
    error = (run_tiled(network, image, 2, 32, 4) - network(image)).abs().amax((0, 1))
    assert error.max() > 1e-3
    assert error[:48, :48].max() < 1e-12


def test_forward_tiled_weights_sum_to_one():
    for size in (5, 40, 63, 64, 65, 200):
        ones = torch.ones(1, 1, size, size + 3)
        tiled = run_tiled(lambda x: F.interpolate(x, scale_factor=2), ones, 2, 16, 5)
        torch.testing.assert_close(tiled, torch.ones(1, 1, 2 * size, 2 * size + 6), rtol=0, atol=2e-7)


def test_forward_tiled_blends_differing_tiles():
    levels = iter(torch.linspace(0, 1, 4))
    image = torch.zeros(1, 1, 64, 64)
    out = run_tiled(lambda x: torch.full_like(x, next(levels)), image, 1, 32, 16)
    jump = torch.maximum(out.diff(dim=-1).abs().max(), out.diff(dim=-2).abs().max())
    assert out.max() - out.min() == 1
    assert jump <= 0.67 / 16 + 1e-6  # the largest difference between neighbors, blended over 16 pixels


def test_forward_tiled_tile_size_limit():
    network = Local(1, radius=1)
    run_tiled(network, torch.rand(1, 2, 100, 131, dtype=torch.float64), 1, 32, 6)
    heights, widths = {shape[2] for shape in network.seen}, {shape[3] for shape in network.seen}
    assert max(heights | widths) <= 32 + 2 * 6
    assert min(heights | widths) >= 16  # cells of nearly equal size: no slivers
    assert len(network.seen) == tile_count(100, 131, 32) == 4 * 5


def test_forward_tiled_zero_runs_whole_image():
    network, image = Local(2, radius=1), torch.rand(1, 2, 9, 7, dtype=torch.float64)
    torch.testing.assert_close(run_tiled(network, image, 2, 0, 32), network(image), rtol=0, atol=0)
    assert network.seen[0] == (1, 2, 9, 7)


def test_forward_tiled_progress_counts_tiles():
    calls = []
    image = torch.rand(1, 2, 40, 20, dtype=torch.float64)
    run_tiled(Local(1, 1), image, 1, 20, 2, lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]
