import hashlib
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config, resolve_model_data_config
from timm.models import adapt_input_conv, group_parameters, save_for_hf
from timm.optim import param_groups_layer_decay

import lamnet_models
from lamnet_models import CheckpointError, LAMNet, ModelError, create_model, resolve_model, save_checkpoint
from lamnet_models.checkpoint import read_checkpoint
from lamnet_models.cost import complexity
from lamnet_models.hub import write_folder
from lamnet_models.names import (
    HUB_VARIABLE,
    NUM_MACS,
    NUM_PARAMS,
    VARIANTS,
    WEIGHTS_VARIABLE,
    default_model_for_scale,
    find_variant,
    packaged_weights,
)

TAGGED = lamnet_models.list_models("lamnet_x4", pretrained=True)[0]


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch):
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    monkeypatch.delenv(HUB_VARIABLE, raising=False)


@pytest.fixture
def image():
    return torch.rand(1, 3, 7, 9, generator=torch.Generator().manual_seed(0))


def test_timm_lists_all_models():
    assert set(timm.list_models("lamnet*")) == VARIANTS.keys() == set(lamnet_models.list_models())
    assert set(timm.list_models(module="lamnet")) == VARIANTS.keys()
    assert lamnet_models.list_models("*large*") == ["lamnet_large_x2", "lamnet_large_x3", "lamnet_large_x4"]
    assert TAGGED in timm.list_models("lamnet*", pretrained=True)


def test_num_params_match_models():
    for name in VARIANTS:
        counted = complexity(create_model(name, device="meta"))
        assert (NUM_PARAMS[name], NUM_MACS[name]) == (counted.params, counted.macs)


def test_packaged_weights_load_and_have_cards(image):
    assert {key.partition(".")[0] for key in packaged_weights()} == set(lamnet_models.list_models())
    for key, path in packaged_weights().items():
        card = path.with_name(f"{key}.md")
        assert card.is_file()
        assert key in card.read_text(encoding="utf-8")
        assert create_model(key, pretrained=True)(image).isfinite().all()


def test_timm_create_model_equal(image):
    model = timm.create_model("lamnet_x4", pretrained=True).eval()
    assert model.scale == 4
    assert torch.equal(model(image), create_model(TAGGED, pretrained=True)(image))


TIMM_FIRST = "import timm, lamnet_models"
TIMM_LAST = """
import importlib.util, sys
import lamnet_models
assert lamnet_models.create_model("lamnet_x2", pretrained=True).scale == 2
assert not {"timm", "torchvision"} & sys.modules.keys(), "imported timm"
importlib.util.find_spec("timm")  # must not use up the import hook
import timm
"""


@pytest.mark.parametrize("imports", [TIMM_FIRST, TIMM_LAST], ids=["timm first", "timm last"])
def test_timm_registration_in_either_import_order(imports, tmp_path):
    code = f"""
{imports}
import sys
assert timm.list_models(module="lamnet") == sorted(lamnet_models.list_models()), timm.list_models("lamnet*")
assert not any(type(finder).__module__.startswith("lamnet") for finder in sys.meta_path)
assert not {{"accelerate", "matplotlib", "psutil", "pyvips", "skimage"}} & sys.modules.keys()
assert type(timm.create_model("lamnet_x4", pretrained=True)) is lamnet_models.LAMNet
"""
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert process.returncode == 0, process.stderr


def test_timm_transform_keeps_brightness():
    for model in (create_model("lamnet_x4"), timm.create_model("lamnet_x4")):
        config = resolve_data_config(model=model)
        assert (config["mean"], config["std"], config["crop_pct"]) == ((0.0,) * 3, (1.0,) * 3, 1.0)
        image = create_transform(**config)(Image.new("RGB", (64, 64), (255, 128, 0)))
        torch.testing.assert_close(image.mean((1, 2)), torch.tensor([1, 128 / 255, 0]))


def test_timm_recipe_gives_the_brightness_of_the_input():
    model = timm.create_model("lamnet_x4", pretrained=True).eval()
    transform = create_transform(**resolve_model_data_config(model))
    with torch.inference_mode():
        output = model(transform(Image.new("RGB", (32, 32), (128, 128, 128)))[None])
    torch.testing.assert_close(output.mean((0, 2, 3)), torch.full((3,), 0.5), rtol=0, atol=0.01)


def test_timm_arguments(image):
    assert timm.create_model("lamnet_x2", num_classes=10).num_classes == 0
    assert timm.create_model("lamnet_x2", gate_layer="none").config["gate_layer"] is None  # timm drops None
    with pytest.raises(ValueError, match=r"^features_only "):
        timm.create_model("lamnet_x2", features_only=True)
    with pytest.raises(ValueError, match=r"^features_only "):
        create_model("lamnet_x2", features_only=True)


def test_timm_parameter_groups():
    model = create_model("lamnet_x2")
    groups = group_parameters(model, model.group_matcher())
    assert len(groups) == 1 + 4 + 1
    assert all(name.startswith("blocks.0.") for name in groups[1])
    assert set(groups[5]) == {
        "conv_body.weight",
        "conv_body.bias",
        "residual.alpha",
        "upsample.0.weight",
        "upsample.0.bias",
    }
    alphas = {name for name, parameter in model.named_parameters() if parameter.dim() == 3}
    assert model.no_weight_decay() == alphas
    decayed = param_groups_layer_decay(model, 0.1, model.no_weight_decay(), layer_decay=0.5)
    names = {parameter: name for name, parameter in model.named_parameters()}
    options = {names[parameter]: group for group in decayed for parameter in group["params"]}
    assert options["conv_first.weight"]["lr_scale"] == 0.5**5
    assert options["upsample.0.weight"]["lr_scale"] == 1
    assert all(options[name]["weight_decay"] == 0 for name in alphas)


def test_pretrained_model_in_eval_mode():
    assert not create_model("lamnet_x4", pretrained=True).training
    assert create_model("lamnet_x4").training


@pytest.mark.parametrize(
    "arguments", [{}, {"in_chans": 1, "window": ((1,), (6,)), "embed_dim": 16, "gate_layer": None}]
)
def test_local_dir_round_trip(tmp_path, arguments):
    model = create_model("lamnet_x2", num_blocks=1, depth=1, **arguments).eval()
    save_for_hf(model, tmp_path, safe_serialization=True)
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert loaded.config == model.config
    image = torch.rand(1, model.in_chans, 6, 5)
    assert torch.equal(loaded(image), model(image))


def test_local_dir_mismatch_names_keys(tmp_path):
    save_for_hf(create_model("lamnet_x2", num_blocks=1, depth=1), tmp_path, safe_serialization=True)
    with pytest.raises(CheckpointError, match=r"missing: blocks\.1\."):
        timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_blocks=2)


def test_weights_search_order(tmp_path, monkeypatch, image):
    torch.manual_seed(0)
    local = create_model("lamnet_x4").eval()
    explicit, folder = tmp_path / "explicit.safetensors", tmp_path / "weights"
    folder.mkdir()
    save_checkpoint(local, folder / "lamnet_x4.safetensors")
    packaged = create_model("lamnet_x4", pretrained=True)(image)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(folder))  # read at call time
    assert torch.equal(create_model("lamnet_x4", pretrained=True)(image), local(image))
    assert torch.equal(create_model(TAGGED, pretrained=True)(image), packaged)
    explicit_model = create_model("lamnet_x4").eval()
    save_checkpoint(explicit_model, explicit)
    assert torch.equal(create_model("lamnet_x4", pretrained=explicit)(image), explicit_model(image))
    overlay = {"file": str(explicit)}
    model = timm.create_model("lamnet_x4", pretrained=True, pretrained_cfg_overlay=overlay).eval()
    assert torch.equal(model(image), explicit_model(image))


def test_weights_folder_with_original_files(tmp_path, monkeypatch, image):
    model = create_model("lamnet_x3").eval()
    save_checkpoint(model, tmp_path / "lamnet_x3.pth", format="original")
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    assert torch.equal(create_model("lamnet_x3", pretrained=True)(image), model(image))


def test_weights_folder_missing_raises(tmp_path, monkeypatch):
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(CheckpointError, match=WEIGHTS_VARIABLE):
        create_model("lamnet_x4", pretrained=True)


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("lamnt_x4", {}, ModelError, "did you mean lamnet_x4"),
        ("resnet50", {}, ModelError, "lamnet_x2, lamnet_x3"),
        ("lamnet_x4.none", {}, ModelError, TAGGED),
        ("lamnet_x4", {"pretrained": True, "embed_dim": 32}, CheckpointError, r"embed_dim=64 .*32.*" + TAGGED),
        ("lamnet_x4", {"pretrained": "none.safetensors"}, CheckpointError, "no such file"),
        ("lamnet_x4", {"scale": 0}, ValueError, "^scale .*0"),
    ],
)
def test_create_model_errors(name, arguments, error, message):
    with pytest.raises(error, match=message) as raised:
        create_model(name, **arguments)
    assert "\n" not in str(raised.value)


@pytest.fixture
def rgb_model():
    torch.manual_seed(0)
    model = LAMNet(scale=2, embed_dim=16, num_blocks=1, depth=1).eval()
    for name in ("conv_first.bias", "upsample.0.bias"):
        torch.nn.init.normal_(model.get_parameter(name))
    return model


def load_adapted(form, folder, model, in_chans):
    """Load a model's weights into one with another number of channels, by name and path or in timm's hub form."""
    arguments = {key: model.config[key] for key in ("embed_dim", "num_blocks", "depth")}
    save_checkpoint(model, folder / "a.safetensors")
    write_folder(read_checkpoint(folder / "a.safetensors"), folder / "hub", "me/a", "mit")
    load = {
        "path": lambda: create_model("lamnet_x2", folder / "a.safetensors", in_chans=in_chans, **arguments),
        "hub": lambda: create_model(f"local-dir:{folder / 'hub'}", pretrained=True, in_chans=in_chans),
        "timm": lambda: timm.create_model(f"local-dir:{folder / 'hub'}", pretrained=True, in_chans=in_chans).eval(),
    }[form]
    with pytest.warns(UserWarning, match=rf"in_chans={model.in_chans} .*in_chans={in_chans}\b"):
        return load()


@pytest.mark.parametrize("form", ["path", "hub", "timm"])
@pytest.mark.parametrize("in_chans", [1, 2, 4, 7])
def test_pretrained_with_other_in_chans(tmp_path, rgb_model, in_chans, form):
    model = load_adapted(form, tmp_path, rgb_model, in_chans)
    expected = adapt_input_conv(in_chans, rgb_model.conv_first.weight)
    torch.testing.assert_close(model.conv_first.weight, expected, rtol=0, atol=1e-6)
    if in_chans == 1:  # a gray image is upscaled as three equal channels
        image = torch.rand(1, 1, 5, 5)
        features = rgb_model.extract(image.expand(-1, 3, -1, -1))
    else:  # the mean image gives no response but the bias
        image = rgb_model.mean[torch.arange(in_chans) % 3].expand(1, -1, 5, 5)
        features = rgb_model.conv_first.bias[:, None, None].expand(1, -1, 5, 5)
    inside = (..., slice(1, -1), slice(1, -1))  # without zero padding
    torch.testing.assert_close(model.extract(image)[inside], features[inside], rtol=0, atol=1e-5)
    features = torch.rand(1, 16, 5, 6)
    output = rgb_model.forward_head(features)
    expected = output.mean(1, keepdim=True) if in_chans == 1 else output[:, torch.arange(in_chans) % 3]
    torch.testing.assert_close(model.forward_head(features), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", ["path", "hub"])
def test_pretrained_of_one_channel_in_rgb_model(tmp_path, form):
    torch.manual_seed(0)
    gray = LAMNet(scale=2, in_chans=1, embed_dim=16, num_blocks=1, depth=1).eval()
    model = load_adapted(form, tmp_path, gray, 3)
    image = torch.rand(1, 1, 8, 9)
    features = model.extract(image.expand(-1, 3, -1, -1))[..., 1:-1, 1:-1]
    torch.testing.assert_close(features, gray.extract(image)[..., 1:-1, 1:-1], rtol=0, atol=1e-5)
    features = torch.rand(1, 16, 5, 6)
    torch.testing.assert_close(model.forward_head(features), gray.forward_head(features).expand(-1, 3, -1, -1))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("in_chans", [1, 3, 4])
def test_pretrained_with_equal_in_chans_is_unchanged(tmp_path, in_chans, caplog):
    model = LAMNet(scale=2, in_chans=in_chans, embed_dim=16, num_blocks=1, depth=1).eval()
    save_checkpoint(model, tmp_path / "a.safetensors")
    write_folder(read_checkpoint(tmp_path / "a.safetensors"), tmp_path / "hub", "me/a", "mit")
    loaded = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True).eval()
    image = torch.rand(1, in_chans, 5, 6)
    assert torch.equal(loaded(image), model(image))
    assert loaded.pretrained_cfg["input_size"][0] == in_chans
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_variants_match_models():
    for name, arguments in VARIANTS.items():
        model = getattr(lamnet_models, name)(device="meta")
        assert {key: model.config[key] for key in arguments} == arguments
        assert find_variant(model.scale, model.config["num_blocks"]) == name
    assert [default_model_for_scale(scale) for scale in (2, 3, 4)] == ["lamnet_x2", "lamnet_x3", "lamnet_x4"]
    assert find_variant(5, 4) is None
    with pytest.raises(ModelError, match=r"^scale .*got 5"):
        default_model_for_scale(5)


def test_resolve_model(tmp_path, image):
    model = LAMNet(scale=2, embed_dim=16, num_blocks=1, depth=1).eval()
    assert resolve_model(model) is model
    save_checkpoint(model, tmp_path / "a.safetensors")
    assert torch.equal(resolve_model(tmp_path / "a.safetensors")(image), model(image))
    assert torch.equal(resolve_model(str(tmp_path / "a.safetensors"))(image), model(image))
    assert resolve_model("lamnet_x4").scale == 4
    with pytest.raises(CheckpointError, match="no such file"):
        resolve_model("none.pth")


class Hub(BaseHTTPRequestHandler):
    """Minimal model hub for downloads."""

    files: dict[str, bytes] = {}  # noqa: RUF012 - set by the test

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        content = self.files.get(self.path)
        self.send_response(200 if content else 404)
        if content:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 40)
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if body and content:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


def test_configured_hub_searched_last(tmp_path):
    save_checkpoint(create_model("lamnet_x2"), tmp_path / "x2.safetensors")
    Hub.files = {"/user/weights/resolve/main/lamnet_x2.new.safetensors": (tmp_path / "x2.safetensors").read_bytes()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    code = (
        "from lamnet_models import CheckpointError, load_model\n"
        "from lamnet_models.names import packaged_weights\n"
        "from lamnet_models.pretrained import resolve_weights_path\n"
        "assert resolve_weights_path('lamnet_x3') in packaged_weights().values()\n"
        "assert load_model(resolve_weights_path('lamnet_x2.new')).scale == 2\n"
        "try: resolve_weights_path('lamnet_x3.new')\n"
        "except CheckpointError as error: print(error)\n"
    )
    environment = os.environ | {
        HUB_VARIABLE: "user/weights",
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path),
        "no_proxy": "127.0.0.1",
    }
    try:
        command = [sys.executable, "-c", code]
        process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    finally:
        server.shutdown()
    assert process.returncode == 0, process.stderr
    assert "lamnet_x3.new.safetensors" in process.stdout
    assert "LAMNET_HUB=user/weights" in process.stdout
    assert len(process.stdout.splitlines()) == 1


def test_public_names_importable():
    import lamnet_models

    for name in lamnet_models.__all__:
        assert getattr(lamnet_models, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'upscal'"):
        _ = lamnet_models.upscal
