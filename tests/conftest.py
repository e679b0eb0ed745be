"""Shared fixtures."""

import importlib
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from lamnet_models import load_model, names, save_checkpoint
from lamnet_models.resize import imresize

# Tests and the processes that they start run in the environment of a user's shell. Hence no variables are set here.

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores
    torch.set_num_threads(1)

INTERPRETER = {} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}

if find_spec("triton"):
    with mock.patch.dict(os.environ, INTERPRETER):  # read on import: whether kernels run in Python
        for name in ("focal_aggregate", "focal_pass", "dual_gate"):
            importlib.import_module(f"lamnet_layers.ops.triton.{name}")


@pytest.fixture
def triton_interpreter():
    """Make the Triton backends available on any device."""
    with mock.patch.dict(os.environ, INTERPRETER):
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-files", type=int, default=2100, help="Number of damaged image files to read.")
    parser.addoption("--fuzz-seed", type=int, default=0, help="Random seed of the damaged files.")


SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference material next to the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference material in {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory) -> Path:
    """Folder with the packaged clean weights, and with modified copies as photo weights of lamnet_x2 and lamnet_x4."""
    folder = tmp_path_factory.mktemp("weights")
    clean = {key: path for key, path in names.packaged_weights().items() if names.purpose_of(key) == "clean"}
    for path in clean.values():
        shutil.copy(path, folder)
    for name, version in (("lamnet_x2", 1), ("lamnet_x4", 9), ("lamnet_x4", 10)):
        model = load_model(next(path for key, path in clean.items() if key.startswith(f"{name}.")))
        generator = torch.Generator().manual_seed(version)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.02 * parameter.abs().mean() * torch.randn(parameter.shape, generator=generator)
        save_checkpoint(model, folder / f"{name}.photo_v{version}.safetensors")
    return folder


@pytest.fixture
def photo_weights(photo_folder, monkeypatch) -> Path:
    """Replace the packaged weights by those of ``photo_folder``."""
    monkeypatch.setattr(names, "_PACKAGED", photo_folder)
    monkeypatch.delenv(names.WEIGHTS_VARIABLE, raising=False)
    monkeypatch.delenv(names.HUB_VARIABLE, raising=False)
    return photo_folder


LAYOUTS = {
    "EDSR": ("benchmark/{d}/HR/{n}.png", "benchmark/{d}/LR_bicubic/X{s}/{n}x{s}.png"),
    "HiT-SR": ("{d}/HR/{n}.png", "{d}/LR_bicubic/X{s}/{n}_LRBI_x{s}.png"),
    "RCAN": ("HR/{d}/x{s}/{n}_HR_x{s}.png", "LR/LRBI/{d}/x{s}/{n}_LRBI_x{s}.png"),
    "LAMNet": ("HR/{d}/x{s}/{n}.png", "LR/LRBI/{d}/x{s}/{n}_LRBI_x{s}.png"),
    "BasicSR": ("{d}/GTmod12/{n}.png", "{d}/LRbicx{s}/{n}.png"),
    "HAT": ("{d}/GTmod{s}/{n}.png", "{d}/LRbicx{s}/{n}.png"),
    "SelfExSR": ("{d}/image_SRF_{s}/{n}_SRF_{s}_HR.png", "{d}/image_SRF_{s}/{n}_SRF_{s}_LR.png"),
    "Hugging Face": ("{d}/data/{d}_HR/{n}.png", "{d}/data/{d}_LR_x{s}/{n}.png"),
    "DIV2K": ("{d}_HR/{n}.png", "{d}_LR_bicubic/X{s}/{n}x{s}.png"),
    "folder": ("{d}/{n}.png", None),
}


def hr_image(index, height=52, width=64):
    """Image with edges and gradients that depend on ``index``."""
    y, x = np.mgrid[:height, :width]
    waves = [127 + 100 * np.sin((x * (index + 1) + y * (c + 2)) / 9) + 28 * ((x // 8 + y // 8) % 2) for c in range(3)]
    return np.stack(waves, axis=-1).clip(0, 255).astype(np.uint8)


@pytest.fixture
def build_dataset(tmp_path):
    """Write a dataset in the given layout; return its root folder."""

    def build(layout="BasicSR", name="Set5", scale=2, count=3, root=None):
        root = root or tmp_path / "data"
        for index in range(count):
            image = hr_image(index)
            pixels = {0: image[: 52 // scale * scale, : 64 // scale * scale], 1: None}
            pixels[1] = imresize(pixels[0], 1 / scale, border="replicate")
            for part, pattern in enumerate(LAYOUTS[layout]):
                if pattern:
                    path = root / pattern.format(d=name, s=scale, n=f"img_{index:03d}")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels[part]).save(path)
        return root

    return build


@pytest.fixture(autouse=True)
def _isolated_cache(tmp_path_factory, monkeypatch):
    """Isolate tests from the user's datasets and cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("LAMNET_DATA", raising=False)
