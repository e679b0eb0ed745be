"""End-to-end tests of the service in ``examples/service``."""

import asyncio
import base64
import importlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lamnet_models import ImageError, LAMNet, Upscaler, export
from lamnet_models.data.catalog import sample_path
from lamnet_models.image_io import Picture, read_image, write_image

SERVICE = Path(__file__).resolve().parents[1] / "examples" / "service" / "service.py"
DEADLINE = 120


@contextmanager
def serving(folder, model, *arguments):
    """Start the service; yield a client and the process."""
    for module in ("fastapi", "uvicorn", "onnxruntime", "python_multipart"):
        pytest.importorskip(module)
    httpx = pytest.importorskip("httpx")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
    threads = str(torch.get_num_threads())  # another number would change the order of sums
    command = [sys.executable, str(SERVICE), str(model), "--port", str(port), "--threads", threads, *arguments]
    with open(folder / "log.txt", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE) as client:
            for _ in range(10 * DEADLINE):
                try:
                    client.get("/health")
                    break
                except httpx.TransportError:
                    assert process.poll() is None, (folder / "log.txt").read_text()
                    time.sleep(0.1)
            yield client, process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    with serving(folder, "lamnet_x2", "--tile", "exact", "--max-mb", "1", "--max-waiting", "4") as (client, process):
        yield client
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE)
        assert not list((folder / "tmp").glob("lamnet-service-*"))
        assert "Traceback" not in (folder / "log.txt").read_text()


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "cat.png"
    Image.open(sample_path("chelsea")).crop((120, 60, 168, 96)).save(path)
    return path


@pytest.fixture
def expected(photo):
    return Upscaler("lamnet_x2", tile="exact")(read_image(photo)).pixels


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def wait_until_idle(client):
    deadline = time.monotonic() + DEADLINE
    while client.get("/health").json()["pending"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_upscale_returns_sr_image(service, photo, expected):
    response = service.post("/upscale", files={"file": ("../my cat.png", photo.read_bytes())})
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert "my%20cat_x2.png" in response.headers["content-disposition"]
    assert np.array_equal(pixels(response.content), expected)
    jpeg = service.post("/upscale", params={"ext": "jpg"}, files={"file": ("cat.png", photo.read_bytes())})
    assert jpeg.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(jpeg.content)).format == "JPEG"


def test_upscale_keeps_16_bit_and_alpha(service, tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (6, 7, 4), dtype=np.uint16)
    write_image(tmp_path / "deep.png", Picture(deep))
    response = service.post("/upscale", files={"file": ("deep.png", (tmp_path / "deep.png").read_bytes())})
    (tmp_path / "response.png").write_bytes(response.content)
    result = read_image(tmp_path / "response.png").pixels
    assert result.dtype == np.uint16
    assert np.array_equal(result, Upscaler("lamnet_x2", tile="exact")(deep))


def test_batch_returns_zip_with_errors(service, photo, expected):
    files = [
        ("files", ("cat.png", photo.read_bytes())),
        ("files", ("bad.png", photo.read_bytes()[:99])),
        ("files", ("cat.png", photo.read_bytes())),
    ]
    response = service.post("/batch", files=files)
    assert response.status_code == 200
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["cat_x2.png", "3_cat_x2.png", "errors.txt"]
        assert all(np.array_equal(pixels(archive.read(name)), expected) for name in archive.namelist()[:2])
        (error,) = archive.read("errors.txt").decode().splitlines()
    assert error.startswith("bad.png: ")


def test_stream_reports_progress_and_image(service, photo, expected):
    with service.stream("POST", "/stream", files={"file": ("cat.png", photo.read_bytes())}) as response:
        lines = [json.loads(line) for line in response.iter_lines()]
    assert lines[0] == {"ahead": 0}
    done = [line["done"] for line in lines if "done" in line]
    assert done == list(range(1, lines[1]["total"] + 1))
    (header,) = [line for line in lines if "file" in line]
    content = b"".join(base64.b64decode(line["data"]) for line in lines if "data" in line)
    assert header == {"file": "cat_x2.png", "width": 96, "height": 72, "bytes": len(content)}
    assert lines[-1] == {"end": True}
    assert np.array_equal(pixels(content), expected)
    broken = service.post("/stream", files={"file": ("bad.png", b"\x89PNG\r\n\x1a\n")})
    assert "bad.png: " in json.loads(broken.text.splitlines()[-1])["error"]


@pytest.mark.parametrize(
    ("content", "arguments", "status", "message"),
    [
        (b"no image", {}, 422, "x.png: "),
        (b"", {}, 422, "x.png: "),
        (bytes(2_000_000), {}, 413, "1000000 bytes"),
        (b"", {"ext": "exe"}, 422, "ext"),
    ],
)
def test_upscale_invalid_request(service, content, arguments, status, message):
    response = service.post("/upscale", params=arguments, files={"file": ("x.png", content)})
    assert response.status_code == status
    assert message in response.text


def test_upscale_rejects_unknown_length(service):
    response = service.post("/upscale", content=iter([b"a", b"b"]))
    assert response.status_code == 411


def test_queue_limit_and_disconnect(service, tmp_path):
    Image.open(sample_path("coffee")).resize((1200, 900)).save(tmp_path / "long.jpg", quality=80)
    content = (tmp_path / "long.jpg").read_bytes()
    disconnects = [threading.Event() for _ in range(4)]

    def client(disconnect):
        with service.stream("POST", "/stream", files={"file": ("long.jpg", content)}) as response:
            lines = response.iter_lines()  # a reference keeps the connection open
            next(lines)
            disconnect.wait(DEADLINE)

    clients = [threading.Thread(target=client, args=(disconnect,)) for disconnect in disconnects]
    for thread in clients:
        thread.start()
    deadline = time.monotonic() + DEADLINE
    while service.get("/health").json()["pending"] < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    rejected = service.post("/upscale", files={"file": ("long.jpg", content)})
    assert rejected.status_code == 503
    assert rejected.headers["retry-after"]
    for disconnect in disconnects:
        disconnect.set()
    for thread in clients:
        thread.join(DEADLINE)
    wait_until_idle(service)


def test_upscale_disconnected_while_queued(tmp_path, monkeypatch):
    for module in ("fastapi", "python_multipart", "uvicorn"):
        pytest.importorskip(module)
    monkeypatch.syspath_prepend(str(SERVICE.parent))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    create_app = importlib.import_module("service").create_app
    names, first_may_finish = [], threading.Event()

    def upscale(source, *_):
        names.append(source.name)
        assert first_may_finish.wait(DEADLINE)
        raise ImageError("upscaled")

    monkeypatch.setattr("work.upscale_upload", upscale)
    app = create_app(None, max_bytes=1000, max_pending=4)

    def post(name, disconnect):
        form = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n\r\n--x--\r\n'.encode()
        headers = [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"%d" % len(form))]
        scope = {"type": "http", "method": "POST", "path": "/upscale", "query_string": b"", "headers": headers}
        received, sent = [{"type": "http.request", "body": form}], []

        async def receive():
            if not received:
                await disconnect.wait()
            return received.pop() if received else {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        async def status():
            await app(scope, receive, send)
            return sent[0]["status"]

        return asyncio.create_task(status())

    async def run():
        disconnects = [asyncio.Event() for _ in range(2)]
        first = post("first.png", disconnects[0])
        while not (names or first.done()):
            await asyncio.sleep(0.01)
        disconnects[1].set()
        assert await asyncio.wait_for(post("second.png", disconnects[1]), DEADLINE) == 499
        first_may_finish.set()
        assert await asyncio.wait_for(first, DEADLINE) == 422

    asyncio.run(run())
    assert names == ["first.png"]


@pytest.mark.parametrize("name", ["missing.onnx", "broken.onnx", "lamnet_x5"])
def test_main_invalid_model(name, tmp_path, monkeypatch, capsys):
    for module in ("fastapi", "onnxruntime"):
        pytest.importorskip(module)
    monkeypatch.syspath_prepend(str(SERVICE.parent))
    service = importlib.import_module("service")
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["service.py", name])
    with pytest.raises(SystemExit) as end:
        service.main()
    assert end.value.code == 2
    assert "service.py: error: " in (line := capsys.readouterr().err.splitlines()[-1])
    assert name in line


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A small network and its ONNX export."""
    for module in ("onnx", "onnxruntime"):
        pytest.importorskip(module)
    torch.manual_seed(0)
    network = LAMNet(scale=2, embed_dim=16, num_blocks=1, depth=1, num_heads=2).eval()
    path = tmp_path_factory.mktemp("exported") / "small.onnx"
    export(network, path)
    return network, path


def test_exported_model_graceful_shutdown(tmp_path, photo, exported):
    network, path = exported
    Image.open(sample_path("coffee")).resize((300, 200)).save(tmp_path / "long.png")
    responses = []
    with serving(tmp_path, path) as (client, process):
        assert client.get("/health").json()["scale"] == 2
        response = client.post("/upscale", files={"file": ("cat.png", photo.read_bytes())})
        assert response.status_code == 200
        difference = pixels(response.content).astype(int) - Upscaler(network)(read_image(photo)).pixels
        assert np.abs(difference).max() <= 1
        files = {"file": ("long.png", (tmp_path / "long.png").read_bytes())}
        request = threading.Thread(target=lambda: responses.append(client.post("/upscale", files=files)))
        request.start()
        while not client.get("/health").json()["pending"] and request.is_alive():
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        request.join(DEADLINE)
        process.wait(DEADLINE)
    assert pixels(responses[0].content).shape == (400, 600, 3)
