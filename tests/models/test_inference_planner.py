"""Memory estimates and memory limits."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from lamnet_layers import use_backend
from lamnet_models import LAMNet, LAMNetError, Upscaler, save_checkpoint
from lamnet_models.image_io import Picture, read_image, write, write_image
from lamnet_models.inference import planner
from lamnet_models.inference.planner import estimate_memory, parse_memory

M = 2**20
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limit of private memory")

# Upscales noise, or runs the command, in a separate process, limited to "room" bytes beyond its memory after the
# imports; prints the peak, the limit and the estimate.
CHILD = """
import json, sys
from lamnet_cli.allocator import configure_allocator
configure_allocator()
import numpy as np, psutil, torch
torch.set_num_threads(1)
from lamnet_models import LAMNet, Upscaler
from lamnet_models.benchmarking.measure import track_peak_memory
from lamnet_models.inference.planner import estimate_process_memory, used_memory

arguments = json.loads(sys.argv[1])
if "model" in arguments:  # what the first call imports and allocates is not part of the measurement
    Upscaler(LAMNet(**arguments["model"]))(np.zeros((8, 8, 3), np.uint8))
allowed = used_memory() + arguments.get("room", 0)
with track_peak_memory() as peak:
    if "command" in arguments:
        import resource
        from lamnet_cli.main import main
        data = psutil.Process().memory_info().data  # address space of private memory, used or not
        resource.setrlimit(resource.RLIMIT_DATA, 2 * (data + arguments["room"],))
        try:
            main([*arguments["command"], "--max-memory", str(allowed)])
        except SystemExit as stop:
            assert not stop.code, stop.code
        estimated = None
    else:
        height, width = arguments["size"]
        model = LAMNet(**arguments["model"])
        estimated = estimate_process_memory(model, height, width)
        limit = allowed if "room" in arguments else None
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        Upscaler(model, tile=arguments["tile"], max_memory=limit)(pixels)
    print(json.dumps({"peak": peak(), "allowed": allowed, "estimated": estimated}))
"""


def run_child(env=None, **arguments):
    command = [sys.executable, "-c", CHILD, json.dumps(arguments)]
    environment = os.environ | (env or {})
    process = subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("text", "size"),
    {"4G": 2**32, "512m": 512 * M, "1.5 GiB": 1536 * M, "2GB": 2 * 10**9, " 10k ": 10240, "9B": 9, 123: 123}.items(),
)
def test_parse_memory(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1", "4X", "4iB", "1e9", "1.5.2G", "4 GG", True, None, 1.5e20, "٣G"])
def test_parse_memory_invalid(text):
    with pytest.raises(ValueError, match=r"max_memory must be .*got"):
        parse_memory(text)


@pytest.fixture
def small():
    return LAMNet(scale=2, embed_dim=16, num_blocks=1, depth=1, num_heads=2).eval()


def test_upscaler_max_memory_below_minimum(small, monkeypatch):
    monkeypatch.setattr(planner, "used_memory", lambda: 2**28)  # varies between the two calls
    with pytest.raises(ValueError, match=r"max_memory must be at least [0-9]+M, got '64M'") as caught:
        Upscaler(small, max_memory="64M")
    minimum = int(re.search("at least ([0-9]+)M", str(caught.value))[1])
    assert Upscaler(small, max_memory=f"{minimum + 64}M")(np.zeros((8, 8, 3), np.uint8)).shape == (16, 16, 3)


def set_free_memory(monkeypatch, megabytes):
    """Let the planner see a process without memory in use; return the limit that leaves ``megabytes`` free."""
    monkeypatch.setattr(planner, "used_memory", lambda: 0)
    return planner.RESERVE + megabytes * M


def test_plans_under_max_memory(monkeypatch, small):
    def planned(megabytes, tile="auto", model=small):
        limit = set_free_memory(monkeypatch, megabytes)
        with use_backend("eager"):  # the memory it takes does not depend on the processor
            plan = next(planner.TilePlanner(model, torch.device("cpu"), tile, 32, limit).plans((1, 3, 2000, 1500)))
        return str(plan), list(plan.in_files)

    assert planned(3000) == ("the whole image", [])
    assert planned(800) == ("exact tiles of 256 pixels", [])
    assert planned(610) == ("exact tiles of 256 pixels", ["result"])
    assert planned(120) == ("exact tiles of 256 pixels", ["features", "result"])
    assert planned(30) == ("exact tiles of 128 pixels", ["features", "result"])
    assert planned(120, 64) == ("tiles of 64 pixels", [])
    with pytest.raises(
        LAMNetError, match=r"max_memory must be at least 1..M for 1500x2000 pixels in exact tiles of 64 .* got 130M$"
    ):
        planned(2)
    with pytest.raises(LAMNetError, match=r"max_memory must be .* in the whole image.*use exact tiles"):
        planned(800, 0)


def test_estimate_memory_scaling(small):
    def need(tiling=(0, False), shape=(1, 3, 500, 500), **changes):
        return estimate_memory(LAMNet(**(small.config | changes), device="meta"), shape, *tiling)

    exact = (256, True)
    assert need().compute == pytest.approx(need(shape=(1, 3, 1000, 250)).compute, rel=0.1)
    assert 1.6 < need(embed_dim=64).compute / need(embed_dim=32).compute < 2
    assert need(depth=9, num_blocks=4).compute == pytest.approx(need(depth=2, num_blocks=2).compute)
    assert need(exact).compute == need(exact, (1, 3, 5000, 5000)).compute < need().compute
    assert need(exact).features == 3 * 16 * 4 * 500 * 500
    assert need(scale=4).result == 16 * 3 * 500 * 500 == 4 * need().result
    assert need(shape=(1, 4, 500, 500)).buffers == 4 * 4 * 500 * 500


@linux
@pytest.mark.parametrize(
    ("tile", "mode", "channels", "size"),
    [(0, "whole", 64, (320, 400)), ("exact", "exact", 32, (480, 640))],
)
def test_estimate_process_memory_within_20_percent(tile, mode, channels, size):
    model = {"scale": 4, "embed_dim": channels, "num_blocks": 1, "depth": 1}
    result = run_child(model=model, size=size, tile=tile)
    assert abs(result["estimated"][mode] / result["peak"] - 1) < 0.2


@pytest.mark.slow
@linux
def test_upscale_24_megapixels_under_max_memory(tmp_path):
    y, x = np.mgrid[:4000, :6000].astype(np.uint16)
    pixels = np.stack([x % 256, y % 256, (x + y) // 40], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", compress_level=1)
    del y, x, pixels
    torch.manual_seed(0)
    network = LAMNet(2, embed_dim=4, num_blocks=1, depth=1, num_heads=1, window=((1,), (1,)), hidden_dim=4)
    save_checkpoint(network, tmp_path / "x2.safetensors")
    command = ["upscale", str(tmp_path / "a.png"), "-o", str(tmp_path / "b.jpg")]
    command += ["-n", str(tmp_path / "x2.safetensors"), "--scale", "1.5"]  # ×2, then downscaled
    # Features take 1,150 MB, the ×2 image 290 MB, the final image 160 MB.
    result = run_child(command=command, room=400 * M)
    assert result["peak"] < result["allowed"]
    with Image.open(tmp_path / "b.jpg") as result_image:
        assert result_image.size == (9000, 6000)
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.jpg", "x2.safetensors"}


@pytest.mark.slow
@linux
def test_upscaler_exact_memory_independent_of_image_size():
    model = {"scale": 4, "num_blocks": 2, "depth": 1}  # lamnet_x4 has 4 and 6
    small, large = 256, 384  # both in tiles of 128 pixels
    # Otherwise glibc keeps up to 64 MB of freed blocks, which would dominate the difference.
    env = {"MALLOC_MMAP_THRESHOLD_": str(M)}
    results = [run_child(env, model=model, size=(side, side), tile="exact", room=200 * M) for side in (small, large)]
    growth = (results[1]["peak"] - results[0]["peak"]) / (large**2 - small**2)
    assert growth < 300  # bytes per pixel; three feature maps take 768, the whole image 2,300
    assert all(result["peak"] < result["allowed"] for result in results)


@pytest.mark.parametrize(
    ("extension", "channels"),
    [(extension, channels) for extension in (".png", ".tif", ".jpg") for channels in (1, 3, 4)][
        :-1
    ],  # no alpha in JPEG
)
def test_write_image_by_rows_gives_same_pixels(monkeypatch, tmp_path, extension, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (70, 50, channels), np.uint8)
    write_image(tmp_path / f"a{extension}", Picture(pixels))
    monkeypatch.setattr(write, "STREAMING_THRESHOLD", 0)
    write_image(tmp_path / f"b{extension}", Picture(pixels))
    at_once, by_rows = (read_image(tmp_path / f"{name}{extension}").pixels for name in "ab")
    np.testing.assert_array_equal(at_once, by_rows)


def test_upscaler_result_in_file_is_writable_array(monkeypatch, tmp_path, small):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    expected = Upscaler(small, tile="exact")(pixels)
    monkeypatch.setattr(planner, "host_memory", lambda _: 0)
    with pytest.warns(RuntimeWarning, match=r"memory is short: features .* and result .* stored"):
        result = Upscaler(small)(pixels)
    np.testing.assert_array_equal(result, expected)
    write_image(tmp_path / "a.png", Picture(result))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, expected)
    result[:] = 0
