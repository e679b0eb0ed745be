"""``--max-memory``, and the memory estimates of ``lamnet info``."""

import json
import os
import platform
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from lamnet_models import LAMNet, save_checkpoint
from lamnet_models.inference import files


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "x2.safetensors"
    save_checkpoint(LAMNet(scale=2, embed_dim=16, num_blocks=1, depth=1), path)
    return path


def test_info_estimates_memory(lamnet, model, constant_memory):
    memory = json.loads(lamnet("info", model, "--size", "1920x1080", "--json")[1])["memory"]
    assert memory["whole"] > memory["exact"] > memory["exact_in_files"] > 0
    assert memory["files"] == 1920 * 1080 * (3 * 16 * 4 + 4 * 3)
    shown = lamnet("info", model, "--size", "1920x1080")[1]
    assert f"{memory['whole'] / 1e9:.2f} GB without tiling" in shown


@pytest.mark.parametrize(("limit", "message"), [("4X", "got '4X'"), ("10M", "got '10M'")])
def test_upscale_max_memory_invalid(lamnet, tmp_path, model, limit, message):
    code, _, err = lamnet("upscale", tmp_path / "a.png", "-n", model, "--max-memory", limit)
    assert code == 2
    assert "max_memory must be" in err
    assert message in err
    assert len(err.splitlines()) == 1


def test_upscale_max_memory_rejects_only_large_image(lamnet, tmp_path, model, constant_memory):
    rng = np.random.default_rng(0)
    for name, size in (("large", (300, 400, 3)), ("small", (20, 30, 3))):
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(tmp_path / f"{name}.png")
    # A limit between the memory of the two images.
    error = lamnet("upscale", tmp_path / "small.png", "-n", model, "--max-memory", "1M")[2]
    limit = f"{int(re.search('at least ([0-9]+)M', error)[1]) + 30}M"
    images = (tmp_path / "large.png", tmp_path / "small.png")
    code, out, err = lamnet("upscale", *images, "-n", model, "--max-memory", limit, "--tile", "0")
    assert code == 1
    assert "small.png" in out
    assert "large.png" not in out
    assert re.search(f"large.png: max_memory must be .* for 400x300 pixels .*got {limit}", err)
    assert len(err.splitlines()) == 1


def test_upscale_max_memory_falls_back_to_png(lamnet, tmp_path, model, monkeypatch):
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.webp")
    monkeypatch.setattr(files, "host_memory", lambda limit: 28_000)
    arguments = ("upscale", tmp_path / "a.webp", "-n", model, "--max-memory", "16G")
    code, _, err = lamnet(*arguments, "--ext", "webp")
    assert code == 1
    assert re.search("a_x2.webp: encoding 60x40 pixels .*1M.*max_memory", err)
    assert lamnet(*arguments)[0] == 0
    assert (tmp_path / "a_x2.png").is_file()


def mmapped_bytes(folder, variables=None, arguments="", size=24_000_000):
    """Bytes of a large block that the allocator maps separately, and so returns to the system when it is freed."""
    lines = [
        "import ctypes; from lamnet_cli.allocator import configure_allocator",
        f"configure_allocator({arguments})",
        "class State(ctypes.Structure): _fields_ = [(str(i), ctypes.c_size_t) for i in range(10)]",
        "c = ctypes.CDLL(None); c.mallinfo2.restype = State; c.malloc.restype = ctypes.c_void_p",
        f"before = getattr(c.mallinfo2(), '4'); c.malloc({size}); print(getattr(c.mallinfo2(), '4') - before)",
    ]
    command = [sys.executable, "-c", "\n".join(lines)]
    environment = os.environ | (variables or {})
    return int(subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_configure_allocator_respects_environment(tmp_path):
    assert mmapped_bytes(tmp_path) == 0
    assert mmapped_bytes(tmp_path, {"MALLOC_MMAP_THRESHOLD_": "1000000"}) >= 24_000_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_configure_allocator_keeps_all_for_training(tmp_path):
    assert mmapped_bytes(tmp_path, size=100_000_000) >= 100_000_000
    assert mmapped_bytes(tmp_path, arguments="keep_all=True", size=100_000_000) == 0
