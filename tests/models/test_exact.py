"""Tiles with the whole image's result."""

import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamnet_models import LAMNet, LAMNetError, Upscaler
from lamnet_models.upscaling import exact, inference
from lamnet_models.upscaling.exact import forward_exact

CPU = torch.device("cpu")


def build(**changes):
    torch.manual_seed(0)
    arguments = {"scale": 2, "channels": 16, "num_blocks": 2, "depth": 1, "heads": 2, "dtype": torch.float64}
    model = LAMNet(**(arguments | changes)).eval()
    with torch.no_grad():  # far from the start, where the gates all are a half
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    batch=st.integers(1, 2),
    tile=st.integers(5, 70),
    window=st.sampled_from([None, ((1,), (6,)), ((1, 2), (3, 3)), ((5,), (2,))]),
    changes=st.fixed_dictionaries(
        {
            "exchange": st.booleans(),
            "attention": st.sampled_from(["fsa", "mhdlsa"]),
            "channel_mixer": st.sampled_from(["csm", "linear", "none"]),
            "feed_forward": st.sampled_from(["dgfn", "gdfn", "ffn"]),
            "scale": st.sampled_from([2, 3]),
            "in_chans": st.sampled_from([1, 3]),
        }
    ),
)
def test_exact_tiles_equal_the_whole(size, batch, tile, window, changes):
    if changes["attention"] == "mhdlsa":
        window = ((1,), (2,))
    model = build(window=window, **changes)
    image = torch.rand(batch, model.in_chans, *size, dtype=torch.float64)
    with torch.no_grad():
        whole = model(image)
        tiled = forward_exact(model, image, CPU, tile=tile)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-10 * whole.abs().max().item())


def test_progress_counts_every_tile_of_every_layer():
    steps = []
    with torch.no_grad():
        image = torch.rand(1, 3, 20, 9)
        forward_exact(build(), image, CPU, tile=10, progress=lambda done, total: steps.append((done, total)))
    assert [done for done, _ in steps] == list(range(1, steps[-1][1] + 1))
    assert {total for _, total in steps} == {len(steps)}


def test_features_go_to_a_file_where_memory_is_short(monkeypatch, tmp_path):
    model, image = build(), torch.rand(1, 3, 20, 30, dtype=torch.float64)
    monkeypatch.setattr(exact, "available_memory", lambda _: 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with torch.no_grad(), pytest.warns(RuntimeWarning, match="features kept in"):
        tiled = forward_exact(model, image, CPU, tile=10)
    torch.testing.assert_close(tiled, model(image))
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with torch.no_grad(), pytest.raises(LAMNetError, match="TMPDIR"):
        forward_exact(model, image, CPU, tile=10)


@pytest.fixture
def small():
    return LAMNet(scale=2, channels=16, num_blocks=1, depth=1, heads=2).eval()


def test_auto_is_exact_where_memory_is_short(monkeypatch, small):
    image = torch.rand(1, 3, 300, 40)
    whole = Upscaler(small, tile=0)(image)
    upscaler = Upscaler(small)
    assert upscaler.tile_for(300, 40) == 0
    monkeypatch.setattr(inference, "available_memory", lambda _: 0)
    assert upscaler.tile_for(300, 40) == "exact"
    torch.testing.assert_close(upscaler(image), whole, rtol=0, atol=1e-5)


def test_steps_down_to_ever_smaller_exact_tiles(monkeypatch, small):
    image, extract = torch.rand(1, 3, 300, 100), small.extract
    whole = Upscaler(small, tile=0)(image)

    def limited(x):
        if x.shape[2] * x.shape[3] > 120**2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate a lot")
        return extract(x)

    monkeypatch.setattr(small, "extract", limited)
    with pytest.warns(RuntimeWarning) as caught:
        result = Upscaler(small)(image)
    torch.testing.assert_close(result, whole, rtol=0, atol=1e-5)
    assert [str(warning.message) for warning in caught] == [
        "out of memory with the whole image: done in exact tiles of 256 pixels",
        "out of memory with exact tiles of 256 pixels: done in exact tiles of 128 pixels",
    ]


def test_an_overflow_is_done_again_in_float32(monkeypatch, small):
    image, reconstruct = torch.rand(1, 3, 70, 20), small.reconstruct
    whole = Upscaler(small, tile=0, precision="fp32")(image)
    monkeypatch.setattr(
        small, "reconstruct", lambda *x: reconstruct(*x) / (0 if torch.is_autocast_enabled("cpu") else 1)
    )
    with pytest.warns(RuntimeWarning, match="bfloat16 overflowed: done again in float32"):
        result = Upscaler(small, tile="exact", precision="bf16")(image)
    torch.testing.assert_close(result, whole, rtol=0, atol=1e-5)


def test_exact_tiles_are_for_lamnet():
    network = torch.nn.Conv2d(3, 3, 1)
    network.scale, network.in_chans = 1, 3
    with pytest.raises(ValueError, match="'exact', which is for LAMNet"):
        Upscaler(network, tile="exact")
