"""Exact tiling."""

import re
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamnet_models import LAMNet, LAMNetError, Upscaler
from lamnet_models.devices import Autocast
from lamnet_models.inference import pixels, planner, tiling
from lamnet_models.inference.pixels import Pixels
from lamnet_models.inference.tiling import forward_exact

CPU = torch.device("cpu")


def build(**changes):
    torch.manual_seed(0)
    if changes.get("attn_layer") == "mhdlsa":  # supports only cells of one pixel
        changes["window"] = ((1,), (2,))
    arguments = {"scale": 2, "embed_dim": 16, "num_blocks": 2, "depth": 1, "num_heads": 2, "dtype": torch.float64}
    model = LAMNet(**(arguments | changes)).eval()
    with torch.no_grad():  # perturb the initial weights, with which all gates are 0.5
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


class Unbounded(Pixels):
    """Stores results without clamping: with random weights, they are far outside [0, 1]."""

    def write(self, rows, columns, values):
        self.data[..., rows, columns] = values


def run_exact(model, image, half=None, **options):
    """Return the result of exact tiling, and whether half precision overflowed."""
    size = (image.shape[0], model.in_chans, *(model.scale * side for side in image.shape[2:]))
    out, autocast = Unbounded(image.new_empty(size)), Autocast(CPU, model.mean.dtype, half)
    with torch.no_grad():
        forward_exact(model, Pixels(image), out, autocast, **options)
    return out.data, autocast.overflowed


SIDES = st.one_of(st.sampled_from([1, 2, 23, 31, 53]), st.integers(1, 60))
VARIANTS = st.fixed_dictionaries(
    {
        "window": st.sampled_from([None, ((1,), (6,)), ((1, 2), (3, 3)), ((5,), (2,))]),
        "gate_layer": st.sampled_from(["iem", None]),
        "attn_layer": st.sampled_from(["fsa", "mhdlsa"]),
        "channel_layer": st.sampled_from(["csm", "linear", None]),
        "mlp_layer": st.sampled_from(["dgfn", "gdfn", "ffn"]),
        "scale": st.sampled_from([1, 2, 3]),
        "in_chans": st.sampled_from([1, 3, 5]),
        "num_blocks": st.sampled_from([1, 2]),
        "depth": st.sampled_from([1, 2]),
    }
)


@settings(max_examples=20, deadline=None)
@given(size=st.tuples(SIDES, SIDES), batch=st.integers(1, 2), tile=st.integers(5, 70), changes=VARIANTS)
def test_forward_exact_equals_whole(size, batch, tile, changes):
    model = build(**changes)
    image = torch.rand(batch, model.in_chans, *size, dtype=torch.float64)
    with torch.no_grad():
        whole = model(image)
    tiled, _ = run_exact(model, image, tile=tile)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-10 * whole.abs().max().item())


@settings(max_examples=10, deadline=None)
@given(size=st.tuples(SIDES, SIDES), tile=st.integers(5, 40), changes=VARIANTS, channels=st.integers(1, 4))
def test_upscaler_exact_equals_whole_for_every_dtype(size, tile, changes, channels):
    model = build(**changes, dtype=torch.float32)
    torch.nn.init.normal_(model.upsample[0].weight, std=1e-3)
    channels = channels if model.in_chans in (1, 3) else model.in_chans
    image = np.random.default_rng(0).random((*size, channels), dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "EXACT_TILES", (tile,))
        for values in (image, (255 * image).astype(np.uint8), (65535 * image).astype(np.uint16)):
            top = 1 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
            difference = Upscaler(model, tile="exact")(values) / top - Upscaler(model, tile=0)(values) / top
            assert np.abs(difference).max() <= 1e-4 + (0 if top == 1 else 1.01 / top)  # plus one level for integers
            assert (difference != 0).mean() < 0.01 or top != 255


def test_forward_exact_independent_of_batch_and_tile_order(monkeypatch):
    model, images = build(dtype=torch.float32), torch.rand(3, 3, 40, 30)
    together, _ = run_exact(model, images, tile=16)
    for image, expected in zip(images, together, strict=True):
        torch.testing.assert_close(run_exact(model, image[None], tile=16)[0][0], expected, rtol=0, atol=0)
    cells = tiling.cells
    monkeypatch.setattr(tiling, "cells", lambda *arguments: cells(*arguments)[::-1])
    reversed_order, _ = run_exact(model, images, tile=16)
    torch.testing.assert_close(reversed_order, together, rtol=0, atol=1e-5 * together.abs().max().item())


def test_forward_exact_progress_counts_tiles_of_all_layers():
    calls = []
    run_exact(build(), torch.rand(2, 3, 20, 9), tile=10, progress=lambda done, total: calls.append((done, total)))
    assert [done for done, _ in calls] == list(range(1, calls[-1][1] + 1))
    assert {total for _, total in calls} == {len(calls)}


def test_upscaler_short_memory_uses_unlinked_files(monkeypatch, tmp_path):
    model, image, seen = build(), torch.rand(1, 3, 80, 30, dtype=torch.float64), []
    whole = Upscaler(model, tile=0)(image)
    monkeypatch.setattr(planner, "host_memory", lambda _: 0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.warns(RuntimeWarning, match=rf"features \(0.00 GB\) and result \(0.00 GB\).*{tmp_path}"):
        # The files are unlinked while in use, so even a killed process leaves none behind.
        tiled = Upscaler(model)(image, progress=lambda *_: seen.extend(tmp_path.iterdir()))
    torch.testing.assert_close(tiled, whole)
    assert not seen
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.warns(RuntimeWarning, match="memory is short"), pytest.raises(LAMNetError, match="TMPDIR"):
        Upscaler(model)(image)


def test_scratch_folder_avoids_memory_backed_folder(monkeypatch):
    disk = SimpleNamespace(mountpoint=tempfile.gettempdir(), fstype="ext4")
    monkeypatch.setattr(
        pixels.psutil, "disk_partitions", lambda all: [SimpleNamespace(mountpoint="/", fstype=""), disk]
    )
    monkeypatch.delenv("TMPDIR", raising=False)
    assert pixels.scratch_folder() == Path(tempfile.gettempdir())
    disk.fstype = "tmpfs"
    assert pixels.scratch_folder() == Path("/var/tmp")
    monkeypatch.setenv("TMPDIR", "/somewhere")  # set explicitly
    assert pixels.scratch_folder() == Path(tempfile.gettempdir())


@pytest.fixture
def small():
    return LAMNet(scale=2, embed_dim=16, num_blocks=1, depth=1, num_heads=2).eval()


def test_run_auto_short_memory_is_exact(monkeypatch, small):
    image = torch.rand(1, 3, 300, 40)
    whole = Upscaler(small, tile=0)(image)
    upscaler = Upscaler(small)
    assert upscaler.run(image).plan.tile_option == 0
    monkeypatch.setattr(planner, "host_memory", lambda _: 0)
    output = upscaler.run(image)
    assert output.plan.tile_option == "exact"
    torch.testing.assert_close(output.image, whole, rtol=0, atol=1e-5)


def test_upscaler_out_of_memory_falls_back_to_smaller_exact_tiles(monkeypatch, small):
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
    first, second = (str(warning.message) for warning in caught)
    assert re.search("the whole image.*exact tiles of 256", first)
    assert re.search("exact tiles of 256.*exact tiles of 128", second)


def test_forward_exact_overflow_recomputed_in_float32(monkeypatch):
    model, image = build(dtype=torch.float32, num_blocks=1), torch.rand(1, 3, 40, 30)
    image[..., 20:, :] = 1
    extract, calls = model.extract, []

    def overflowing(x):  # in bright tiles only
        calls.append(torch.is_autocast_enabled("cpu"))
        return extract(x) / (0 if calls[-1] and x.mean() > 0.9 else 1)

    monkeypatch.setattr(model, "extract", overflowing)
    result, overflowed = run_exact(model, image, half=torch.bfloat16, tile=20)
    assert overflowed
    assert calls == 2 * [True, True, True, False, True, False]  # first and last stage: four tiles each, two recomputed
    with torch.no_grad():
        whole = model(image)
    torch.testing.assert_close(result, whole, rtol=0, atol=0.05 * whole.abs().max().item())


def test_autocast_recomputes_only_overflowing_image():
    def compute(x):
        seen.append((len(x), torch.is_autocast_enabled("cpu")))
        return torch.where(x > 0.5, torch.inf, x) if seen[-1][1] else x

    seen, images = [], torch.tensor([0.2, 0.9, 0.4])[:, None, None, None]
    autocast = Autocast(CPU, torch.float32, torch.bfloat16)
    torch.testing.assert_close(autocast(compute, images), images)
    assert seen == [(3, True), (1, False)]


def test_upscaler_exact_rejects_other_networks():
    network = torch.nn.Conv2d(3, 3, 1)
    network.scale, network.in_chans = 1, 3
    with pytest.raises(ValueError, match=r"tile must be .*got 'exact'"):
        Upscaler(network, tile="exact")
