import base64
import hashlib
import json
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import timm
import torch
import yaml
from huggingface_hub import close_session, constants
from safetensors.torch import save

from lamnet_models import (
    CheckpointError,
    HubError,
    LAMNet,
    ModelError,
    create_model,
    load_model,
    push,
    save_checkpoint,
    upscale,
)
from lamnet_models.training import load_recipe

COMMIT = "0" * 40


class Hub:
    """Local model hub that implements repository creation, upload and download.

    Attributes:
        repositories: Files by repository and path.
        token: Token with write access and access to private repositories.
        private: Private repositories.
        truncated_downloads: Number of next downloads of large files that end after half of the data.
        requests: Requests as (method, path, Range header).
    """

    def __init__(self, token="secret"):
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.large: dict[str, bytes] = {}  # uploaded but not committed, by digest
        self.token = token
        self.private: set[str] = set()
        self.truncated_downloads = 0
        self.requests: list[tuple[str, str, str | None]] = []

    @contextmanager
    def running(self):
        """Yield the address of the running hub."""
        handler = type("Handler", (_Handler,), {"hub": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        path = self.path.partition("?")[0]
        self.hub.requests.append(("POST", path, None))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if not self._is_authorized():
            return self._json({"error": "Invalid credentials"}, 401)
        if path == "/api/repos/create":
            request = json.loads(body)
            name = f"{request['organization']}/{request['name']}" if request.get("organization") else request["name"]
            self.hub.repositories.setdefault(name, {})
            if request.get("private") or request.get("visibility") == "private":
                self.hub.private.add(name)
            return self._json({"url": f"{self._address}/{name}", "name": name})
        if match := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self._json({"files": files})
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**item, "actions": {"upload": {"href": f"{self._address}/lfs/{item['oid']}", "header": {}}}}
                for item in json.loads(body)["objects"]
            ]
            return self._json({"transfer": "basic", "objects": objects})
        if match := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            files = self.hub.repositories[match[1]]
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = self.hub.large[value["oid"]]
            return self._json({"commitUrl": f"{self._address}/{match[1]}/commit/{COMMIT}", "commitOid": COMMIT})
        return self._json({"error": "unknown"}, 404)

    def do_PUT(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        digest = hashlib.sha256(content).hexdigest()
        assert self.path == f"/lfs/{digest}"
        self.hub.large[digest] = content
        self._json({})

    def do_HEAD(self):
        self._file(body=False)

    def do_GET(self):
        self._file(body=True)

    def _file(self, body):
        path = self.path.partition("?")[0]
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        if path.startswith("/api/models/"):
            name = re.fullmatch(r"/api/models/([^/]+/[^/]+)(/.*)?", path)[1]
            if name not in self._visible():
                return self._missing("RepoNotFound", 401)
            return self._json({"id": name, "sha": COMMIT, "siblings": []})
        match = re.fullmatch(rf"/([^/]+/[^/]+)/resolve/(main|{COMMIT})/(.+)", path)
        if match is None or match[1] not in self._visible():
            return self._missing("RepoNotFound", 401)
        content = self.hub.repositories[match[1]].get(match[3])
        if content is None:
            return self._missing("EntryNotFound", 404)
        size, start = len(content), 0
        if span := self.headers.get("Range"):
            start = int(re.match(r"bytes=(\d+)-", span)[1])
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        if not body:
            return None
        rest = content[start:]
        if self.hub.truncated_downloads and size > 10_000:
            self.hub.truncated_downloads -= 1
            self.wfile.write(rest[: len(rest) // 2])
            self.close_connection = True  # before Content-Length is reached
            return None
        self.wfile.write(rest)
        return None

    @property
    def _address(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def _is_authorized(self):
        return self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def _visible(self):
        return [name for name in self.hub.repositories if self._is_authorized() or name not in self.hub.private]

    def _missing(self, code, status):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, value, status=200):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Empty local hub with an empty cache, logged in with its token."""
    hub = Hub()
    with hub.running() as address:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setenv("HF_TOKEN", hub.token)
        _set_endpoint(monkeypatch, address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # use the plain HTTP upload
        close_session()  # a session of another test has other proxies
        yield hub
        close_session()


def _set_endpoint(monkeypatch, address):
    """Set the endpoint, as HF_ENDPOINT does at import."""
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )


@pytest.fixture
def image():
    return torch.rand(1, 3, 7, 9, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def file(tmp_path):
    """Checkpoint with an architecture not in the paper, and training metadata."""
    torch.manual_seed(0)
    model = LAMNet(scale=2, embed_dim=16, num_blocks=1, depth=1, window=((1, 2), (3, 3)), gate_layer=None).eval()
    save_checkpoint(model, tmp_path / "source.safetensors", training={"data": "10 | photographs", "psnr": 30.126})
    return tmp_path / "source.safetensors"


def test_push_and_load(hub, file, image):
    url = push(file, "user/model", license="cc-by-4.0")
    assert url == f"{constants.ENDPOINT}/user/model"
    files = hub.repositories["user/model"]
    assert files.keys() == {"model.safetensors", "config.json", "README.md"}
    model = load_model(file)
    for loaded in (
        timm.create_model("hf-hub:user/model", pretrained=True).eval(),
        create_model("hf-hub:user/model", pretrained=True),
    ):
        assert loaded.config == model.config
        assert torch.equal(loaded(image), model(image))
    assert not torch.equal(create_model("hf-hub:user/model").eval()(image), model(image))
    assert torch.equal(upscale(image, "hf-hub:user/model"), model(image).clamp(0, 1))


def test_pushed_weights_are_lamnet_checkpoint(hub, tmp_path, file):
    push(file, "user/model", license="mit")
    path = tmp_path / "downloaded.safetensors"
    path.write_bytes(hub.repositories["user/model"]["model.safetensors"])
    assert load_model(path).config == load_model(file).config


def test_model_card_contents(hub, file):
    push(file, "user/model", license="cc-by-4.0")
    _, front, text = hub.repositories["user/model"]["README.md"].decode().split("---\n", 2)
    card = yaml.safe_load(front)
    assert (card["license"], card["library_name"], card["pipeline_tag"]) == ("cc-by-4.0", "timm", "image-to-image")
    assert card["model-index"][0]["results"][0]["metrics"][0]["value"] == 30.13
    assert "10 \\| photographs" in text
    assert "hf-hub:user/model" in text
    config = json.loads(hub.repositories["user/model"]["config.json"])
    assert config["pretrained_cfg"]["license"] == "cc-by-4.0"


def test_model_card_names_validation_images(hub, file):
    recipe = asdict(load_recipe("quick"))
    for dataset, name in ((None, "held-out images"), ("held-out", "held-out images"), ("set5", "set5")):
        recorded = {"dataset": dataset} if dataset else {}
        metadata = {"recipe": recipe, "step": 1, "hours": 0.1, "hardware": "cpu", "psnr": 30.0, **recorded}
        save_checkpoint(load_model(file), file, training=metadata)
        push(file, "user/model", license="mit")
        _, front, text = hub.repositories["user/model"]["README.md"].decode().split("---\n", 2)
        assert yaml.safe_load(front)["model-index"][0]["results"][0]["dataset"]["name"] == name
        assert f"selected by | 30.00 dB on the luma of {name} |" in text


def test_push_packaged_weights(hub, image):
    push("lamnet_x3", "user/lamnet-x3", private=True)
    assert hub.private == {"user/lamnet-x3"}
    card = yaml.safe_load(hub.repositories["user/lamnet-x3"]["README.md"].decode().split("---\n", 2)[1])
    assert card["license"] == "apache-2.0"
    loaded = create_model("hf-hub:user/lamnet-x3", pretrained=True)
    assert torch.equal(loaded(image), create_model("lamnet_x3", pretrained=True)(image))


def test_model_card_without_psnr(hub, tmp_path):
    save_checkpoint(LAMNet(scale=8, embed_dim=16, num_blocks=1, depth=1), tmp_path / "a.safetensors")
    push(tmp_path / "a.safetensors", "user/a", license="mit")
    assert "model-index" not in hub.repositories["user/a"]["README.md"].decode()
    assert create_model("hf-hub:user/a", pretrained=True).scale == 8


def test_push_without_license_raises(hub, file):
    with pytest.raises(ValueError, match=r"^license"):
        push(file, "user/model")
    assert not hub.repositories


@pytest.mark.parametrize(
    ("repository", "token", "message"),
    [
        ("user/model", "wrong", "HF_TOKEN"),
        ("user/model", "", "HF_TOKEN"),
        ("some user/model", "secret", "ORGANIZATION/NAME"),
        ("model", "secret", "ORGANIZATION/NAME"),
    ],
)
def test_push_errors(hub, file, monkeypatch, repository, token, message):
    monkeypatch.setenv("HF_TOKEN", token)
    assert_one_line(lambda: push(file, repository, license="mit"), message)
    assert not hub.repositories


def assert_one_line(call, *parts):
    with pytest.raises(HubError) as error:
        call()
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


def test_download_errors(hub, file, monkeypatch):
    def load():
        return create_model("hf-hub:user/model", pretrained=True)

    assert_one_line(load, "user/model", "repository not found")
    push(file, "user/model", license="mit", private=True)
    monkeypatch.setenv("HF_TOKEN", "wrong")
    assert_one_line(load, "private", "HF_TOKEN")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    del hub.repositories["user/model"]["config.json"]
    assert_one_line(load, "file not found")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda config, weights: (config, weights[: len(weights) // 2]), HubError, "damaged"),
        (lambda config, weights: (b"no json", weights), HubError, "damaged"),
        (lambda config, weights: (b"{}", weights), HubError, "damaged"),
        (lambda config, weights: (config.replace(b"lamnet_x2", b"no_such_model"), weights), HubError, "no_such_model"),
        (
            lambda config, weights: (b'{"architecture": "test_vit", "num_classes": 9}', weights),
            ModelError,
            "LAMNet, got",
        ),
        (lambda config, weights: (config, save({"a": torch.zeros(1)})), CheckpointError, "not a LAMNet"),
    ],
)
def test_invalid_repositories_raise(hub, file, change, error, message):
    push(file, "user/model", license="mit")
    files = hub.repositories["user/model"]
    files["config.json"], files["model.safetensors"] = change(files["config.json"], files["model.safetensors"])
    with pytest.raises(error, match=message) as raised:
        create_model("hf-hub:user/model", pretrained=error is not ModelError)
    assert "\n" not in str(raised.value)


def test_interrupted_download_retried(hub, file, image):
    push(file, "user/model", license="mit")
    hub.truncated_downloads = 1
    loaded = create_model("hf-hub:user/model", pretrained=True)
    assert torch.equal(loaded(image), load_model(file)(image))
    gets = [path for method, path, _ in hub.requests if method == "GET" and path.endswith("safetensors")]
    assert len(gets) == 2


def test_failed_download_leaves_no_partial_file(hub, file, image, monkeypatch):
    push(file, "user/model", license="mit")
    hub.truncated_downloads = 1000
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert_one_line(lambda: create_model("hf-hub:user/model", pretrained=True), "user/model")
    hub.truncated_downloads = 0
    loaded = create_model("hf-hub:user/model", pretrained=True)
    assert torch.equal(loaded(image), load_model(file)(image))


def test_offline_uses_cache(hub, file, image, monkeypatch):
    push(file, "user/model", license="mit")
    create_model("hf-hub:user/model", pretrained=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    hub.requests.clear()
    loaded = create_model("hf-hub:user/model", pretrained=True)
    assert torch.equal(loaded(image), load_model(file)(image))
    assert not hub.requests
    assert_one_line(lambda: create_model("hf-hub:user/other", pretrained=True), "cannot be reached")
    assert_one_line(lambda: push(file, "user/model", license="mit"), "HF_HUB_OFFLINE")


def test_unreachable_hub_uses_cache(hub, file, image, monkeypatch):
    push(file, "user/model", license="mit")
    create_model("hf-hub:user/model", pretrained=True)
    _set_endpoint(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setattr(time, "sleep", lambda _: None)  # the library retries with delays
    loaded = create_model("hf-hub:user/model", pretrained=True)
    assert torch.equal(loaded(image), load_model(file)(image))
    assert_one_line(lambda: create_model("hf-hub:user/other", pretrained=True), "cannot be reached")
