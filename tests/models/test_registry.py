import hashlib
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import timm
import torch
from timm.models import save_for_hf

import lamnet_models
from lamnet_models import CheckpointError, LAMNet, ModelError, create_model, resolve_model, save_checkpoint
from lamnet_models.pretrained import HUB_VARIABLE, WEIGHTS_VARIABLE, packaged_weights

TAGGED = "lamnet_x4.photos310_v1"


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch):
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    monkeypatch.delenv(HUB_VARIABLE, raising=False)


@pytest.fixture
def image():
    return torch.rand(1, 3, 7, 9, generator=torch.Generator().manual_seed(0))


def test_timm_lists_all_models():
    names = {f"lamnet_{size}x{scale}" for size in ("", "large_") for scale in (2, 3, 4)}
    assert set(timm.list_models("lamnet*")) == names == set(lamnet_models.list_models())
    assert lamnet_models.list_models("*large*") == ["lamnet_large_x2", "lamnet_large_x3", "lamnet_large_x4"]
    assert TAGGED in timm.list_models("lamnet*", pretrained=True)


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
    save_checkpoint(model, tmp_path / "lamnet_x3.pth", format="released")
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
        ("lamnet_x4", {"pretrained": True, "in_chans": 1}, CheckpointError, r"in_chans=3 .*1.*" + TAGGED),
        ("lamnet_x4", {"pretrained": "none.safetensors"}, CheckpointError, "no such file"),
        ("lamnet_x4", {"scale": 0}, ValueError, "^scale .*0"),
    ],
)
def test_create_model_errors(name, arguments, error, message):
    with pytest.raises(error, match=message) as raised:
        create_model(name, **arguments)
    assert "\n" not in str(raised.value)


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
        "from lamnet_models.pretrained import resolve_weights_path, packaged_weights\n"
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
        process = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
        )
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
