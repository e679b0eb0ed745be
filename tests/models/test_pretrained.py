"""Weights by name, purpose and version, and the strength of photo weights."""

import shutil
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from lamnet_models import (
    CheckpointError,
    LAMNet,
    ModelError,
    create_model,
    load_model,
    resolve_model,
    save_checkpoint,
    upscale,
)
from lamnet_models.checkpoint import read_checkpoint
from lamnet_models.data.catalog import sample_path
from lamnet_models.degradation import compress
from lamnet_models.evaluation.metrics import psnr
from lamnet_models.image_io import read_rgb
from lamnet_models.names import (
    HUB_VARIABLE,
    WEIGHTS_VARIABLE,
    display_name,
    find_local_weights,
    list_models,
    offers_photo_weights,
    packaged_weights,
    purpose_of,
    split_name,
)
from lamnet_models.pretrained import find_weights, interpolate_weights
from lamnet_models.resize import imresize


@pytest.fixture
def image():
    return torch.rand(1, 3, 7, 9, generator=torch.Generator().manual_seed(0))


def test_packaged_weights_sorted_by_purpose_and_version(photo_weights):
    assert [purpose_of(name) for name in list_models("lamnet_x2", pretrained=True)] == ["clean", "photo"]
    names = list_models("lamnet_x4", pretrained=True)
    assert purpose_of(names[0]) == "clean"
    assert names[1:] == ["lamnet_x4.photo_v10", "lamnet_x4.photo_v9"]


@pytest.mark.parametrize(
    ("tag", "found"),
    [("photo", "photo_v10"), ("photo_v9", "photo_v9"), ("clean", "clean_v"), ("", "clean_v"), ("phot", None)],
)
def test_find_local_weights_newest_version(photo_weights, tag, found):
    path = find_local_weights("lamnet_x4", tag)
    assert path.name.startswith(f"lamnet_x4.{found}") if found else path is None


@pytest.mark.parametrize(
    ("files", "tag", "found"),
    [
        (["lamnet_x3.photo_v2.safetensors"], "", "packaged"),  # never photo weights by default
        (["lamnet_x3.photo_v2.safetensors"], "photo", "lamnet_x3.photo_v2.safetensors"),
        (["lamnet_x3.photo_v10.pth", "lamnet_x3.photo_v9.safetensors"], "photo", "lamnet_x3.photo_v10.pth"),
        (["lamnet_x3.a.md", "lamnet_x3.a.pth", "lamnet_x3.a.safetensors"], "a", "lamnet_x3.a.safetensors"),
        (["lamnet_x3.clean_v2.safetensors", "lamnet_x3.pth"], "", "lamnet_x3.pth"),
        (["lamnet_x3.best_v2.safetensors", "lamnet_x3.clean_v2.safetensors"], "", "lamnet_x3.clean_v2.safetensors"),
        (["lamnet_x3.best_v2.safetensors", "lamnet_x3.photo_v2.safetensors"], "", "lamnet_x3.best_v2.safetensors"),
        (["lamnet_x3.safetensors", "lamnet_x4.photo_v2.safetensors"], "photo", None),
        (["lamnet_x3.photo_v2.onnx", "lamnet_x33.photo_v2.pth"], "photo", None),
    ],
)
def test_find_local_weights_in_folder(photo_weights, tmp_path, monkeypatch, files, tag, found):
    for name in files:
        (tmp_path / name).touch()
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    path = find_local_weights("lamnet_x3", tag)
    if found == "packaged":
        assert path.parent == photo_weights
    else:
        assert path == (found and tmp_path / found)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("lamnet_x4.photo_v2", "lamnet_x4.photo_v2"),
        ("hf-hub:user/model", "hf-hub:user/model"),
        ("best.pth", "best.pth"),
        ("./best.pth", "best.pth"),
        ("../best.pth", "best.pth"),
        ("/best.pth", "best.pth"),
        ("runs/a/best.pth", "a/best.pth"),
        (Path("runs/z/best.pth"), "z/best.pth"),
    ],
)
def test_display_name(model, name):
    assert display_name(model) == name


def test_split_name_completes_tag(photo_weights, monkeypatch):
    assert split_name("lamnet_x4.photo") == ("lamnet_x4", "photo_v10")
    assert split_name("lamnet_x4") == ("lamnet_x4", "")
    with pytest.raises(ModelError, match=r"lamnet_x3\.photo.*lamnet_x3\.clean_v.*: lamnet_x2, lamnet_x4$"):
        split_name("lamnet_x3.photo")
    monkeypatch.setenv(HUB_VARIABLE, "user/weights")  # which may have it
    assert split_name("lamnet_x3.photo") == ("lamnet_x3", "photo")


def test_offers_photo_weights(photo_weights, tmp_path, monkeypatch):
    assert offers_photo_weights("lamnet_x4")
    for model in ("lamnet_x3", "lamnet_x4.clean", "lamnet_x4.photo", tmp_path / "a.safetensors", nn.Identity()):
        assert not offers_photo_weights(model)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    (tmp_path / "lamnet_x4.safetensors").touch()  # of unknown purpose
    assert not offers_photo_weights("lamnet_x4")


@pytest.mark.parametrize("place", ["packaged", "folder"])
def test_create_model_by_purpose(photo_folder, photo_weights, monkeypatch, tmp_path, image, place):
    if place == "folder":
        monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
        for name in ("lamnet_x4.photo_v10", "lamnet_x4.photo_v9"):
            shutil.copy(photo_folder / f"{name}.safetensors", tmp_path)
    expected = load_model(photo_folder / "lamnet_x4.photo_v10.safetensors")(image)
    models = [
        create_model("lamnet_x4.photo", pretrained=True),
        create_model("lamnet_x4.photo_v10", pretrained=True),
        timm.create_model("lamnet_x4.photo", pretrained=True).eval(),
        timm.create_model("lamnet_x4.photo_v10", pretrained=True).eval(),
    ]
    for model in models:
        assert torch.equal(model(image), expected)
        assert model.pretrained_cfg["file"].endswith("lamnet_x4.photo_v10.safetensors")
        assert model.pretrained_cfg["tag"] == "photo_v10"
    for model in (create_model("lamnet_x4", pretrained=True), timm.create_model("lamnet_x4", pretrained=True)):
        assert purpose_of(Path(model.pretrained_cfg["file"]).stem) == "clean"
    with pytest.raises(ModelError, match=r"lamnet_x3\.photo"):
        timm.create_model("lamnet_x3.photo")


def test_interpolate_weights(photo_weights):
    first, second = (find_weights("lamnet_x2", tag) for tag in ("clean", "photo"))
    start, end = (load_model(path).state_dict() for path in (first, second))
    for strength in (0, 0.25, 1):
        state = interpolate_weights(first, second, strength).build().state_dict()
        for key, tensor in state.items():
            assert tensor.dtype == start[key].dtype
            expected = start[key].double() * (1 - strength) + end[key].double() * strength
            torch.testing.assert_close(tensor.double(), expected, rtol=1e-6, atol=1e-7)
            assert strength not in (0, 1) or torch.equal(tensor, (start, end)[strength][key])


def test_interpolate_weights_errors(tmp_path):
    sizes = {"a": {"depth": 1}, "b": {"depth": 1, "embed_dim": 16}, "c": {"depth": 1, "window": ((1,), (2,))}}
    for name, arguments in sizes.items():
        save_checkpoint(LAMNet(scale=2, num_blocks=1, **({"embed_dim": 8} | arguments)), tmp_path / f"{name}.pth")
    for name, argument in (("b", "embed_dim"), ("c", "window")):
        with pytest.raises(CheckpointError, match=argument):
            interpolate_weights(tmp_path / "a.pth", tmp_path / f"{name}.pth", 0.5)
    with pytest.raises(ValueError, match=r"^strength .*got 2"):
        interpolate_weights(tmp_path / "a.pth", tmp_path / "a.pth", 2)


@pytest.mark.parametrize(
    ("weights", "strength", "tag"),
    [("photo", None, "photo"), (None, 1, "photo"), ("photo", 0, "clean"), ("clean", None, "clean"), (None, None, "")],
)
def test_resolve_model_weights(photo_weights, image, weights, strength, tag):
    model = resolve_model("lamnet_x4", weights=weights, strength=strength)
    assert torch.equal(model(image), load_model(find_weights("lamnet_x4", tag))(image))


def test_resolve_model_strength(photo_weights):
    state = resolve_model("lamnet_x4", strength=0.25).state_dict()
    files = (find_weights("lamnet_x4", tag) for tag in ("clean", "photo"))
    expected = interpolate_weights(*files, 0.25).state
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in state)


@pytest.mark.parametrize(
    ("model", "arguments", "error", "message"),
    [
        ("lamnet_x4", {"strength": -0.1}, ValueError, r"^strength .*-0\.1"),
        ("lamnet_x4", {"strength": float("nan")}, ValueError, "^strength .*nan"),
        ("lamnet_x4", {"strength": "1"}, ValueError, "^strength .*'1'"),
        ("lamnet_x4", {"weights": "noise"}, ValueError, "^weights must be clean or photo, got 'noise'"),
        ("lamnet_x4", {"weights": "clean", "strength": 0.5}, ValueError, "^strength requires photo weights"),
        ("lamnet_x4.photo", {"strength": 0.5}, ValueError, r"^weights and strength .*lamnet_x4\.photo"),
        ("a.safetensors", {"weights": "photo"}, ValueError, r"^weights and strength .*a\.safetensors"),
        ("hf-hub:me/a", {"weights": "photo"}, ValueError, "^weights and strength .*hf-hub:me/a"),
        (nn.Identity(), {"strength": 0.5}, ValueError, "^weights and strength .*Identity"),
        ("lamnet_x3", {"weights": "photo"}, ModelError, r"lamnet_x3\.photo"),
        ("lamnet_x3", {"strength": 0}, ModelError, r"lamnet_x3\.photo"),
        ("lamnt_x4", {"weights": "photo"}, ModelError, "did you mean lamnet_x4"),
    ],
)
def test_resolve_model_weights_errors(photo_weights, model, arguments, error, message):
    with pytest.raises(error, match=message) as raised:
        resolve_model(model, **arguments)
    assert "\n" not in str(raised.value)


def test_packaged_photo_weights_remove_artifacts():
    names = [name for name in packaged_weights() if purpose_of(name) == "photo"]
    if not names:
        pytest.skip("no photo weights are packaged")
    for name in names:
        model = name.partition(".")[0]
        assert read_checkpoint(find_weights(model, "photo")).config == read_checkpoint(find_weights(model)).config
        scale = create_model(model, device="meta").scale
        hr = read_rgb(sample_path("chelsea"))[60:204, 120:264]
        lr = compress(imresize(hr, 1 / scale), "jpeg", 50)
        assert psnr(upscale(lr, name), hr, scale) > psnr(upscale(lr, model), hr, scale)


def test_packaged_weights_in_bfloat16():
    image = read_rgb(sample_path("chelsea"))[60:132, 120:192]
    expected, actual = (
        upscale(image, "lamnet_x4", device="cpu", precision=precision).astype(int) for precision in ("fp32", "bf16")
    )
    assert abs(actual - expected).max() <= 1
    assert abs(actual - expected).mean() < 0.05
