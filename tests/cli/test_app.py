"""End-to-end tests of ``lamnet app`` with a real server and browser."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch
from PIL import Image

from lamnet_models import Upscaler
from lamnet_models.data.catalog import sample_path
from lamnet_models.image_io import Picture, read_image, write_image
from lamnet_models.names import WEIGHTS_VARIABLE

CHROMIUM = Path("/usr/bin/chromium")
DEADLINE = 120

# Runs the command and logs every other host that it resolves or connects to.
GUARDED = """
import socket, sys
log = open(sys.argv.pop(1), "a", buffering=1)
original_getaddrinfo, original_connect = socket.getaddrinfo, socket.socket.connect

def log_host(host):
    if str(host) not in ("127.0.0.1", "localhost", "::1", "0.0.0.0"):
        log.write(f"{host}\\n")

def getaddrinfo(host, *arguments, **options):
    log_host(host)
    return original_getaddrinfo(host, *arguments, **options)

def connect(self, address):
    log_host(address[0] if isinstance(address, tuple) else "127.0.0.1")
    return original_connect(self, address)

socket.getaddrinfo, socket.socket.connect = getaddrinfo, connect
from lamnet_cli.main import main
main(sys.argv[1:])
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def app(folder, *arguments, weights):
    """Run the command with a folder of weights; yield its address, the process, and the log of contacted hosts."""
    pytest.importorskip("gradio")
    hosts, port = folder / "hosts.txt", free_port()
    (folder / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(folder / "tmp"), WEIGHTS_VARIABLE: str(weights)}
    environment["OMP_NUM_THREADS"] = str(torch.get_num_threads())  # rounding depends on it
    command = [sys.executable, "-c", GUARDED, hosts, "app", "--no-browser", "--port", str(port), *arguments]
    with open(folder / "errors.txt", "w") as errors:
        # In another folder than the checkout, which Python would import in place of the installed package.
        options = {"env": environment, "cwd": folder, "text": True}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, **options)
    try:
        line = process.stdout.readline()
        assert line.startswith(f"http://127.0.0.1:{port}"), (folder / "errors.txt").read_text()
        yield line.split()[0].rstrip("/"), process, hosts
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory, photo_folder):
    folder = tmp_path_factory.mktemp("app")
    with app(folder, weights=photo_folder) as (address, process, hosts):
        yield address, folder
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
        assert hosts.read_text() == ""  # no other host was contacted
        assert not list((folder / "tmp").glob("lamnet-app-*"))
        assert "Traceback" not in (folder / "errors.txt").read_text()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, server):
    """A browser page, checked to request only the server."""
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    page.set_default_timeout(1000 * DEADLINE)
    urls = []
    page.on("request", lambda request: urls.append(request.url))
    page.goto(server[0])
    yield page
    page.close()
    assert urls
    assert all(url.startswith((server[0], "data:", "blob:")) for url in urls)


def upload(page, path):
    page.set_input_files("input[type=file]", path)


def upscale(page, scale):
    page.get_by_role("radio", name=f"×{scale}").click()
    page.get_by_role("button", name="Upscale").click()


def download(page, folder):
    with page.expect_download() as expected:
        page.get_by_role("button", name="Download").or_(page.get_by_role("link", name="Download")).first.click()
    path = folder / expected.value.suggested_filename
    expected.value.save_as(path)
    return path


def test_page_upscale_compare_download(page, tmp_path):
    Image.open(sample_path("chelsea")).crop((120, 60, 216, 132)).save(tmp_path / "cat.jpg", quality=95, dpi=(300, 300))
    assert page.get_by_role("button", name="Upscale").is_disabled()
    upload(page, tmp_path / "cat.jpg")
    page.get_by_text("96 × 72 pixels, 8 bits").wait_for()
    page.get_by_role("radio", name="LAMNet-large").click()
    upscale(page, 2)
    page.get_by_text("192 × 144 pixels").wait_for()
    result = download(page, tmp_path)
    assert result.name == "cat_x2.jpg"
    write_image(tmp_path / "expected.jpg", Upscaler("lamnet_large_x2", tile="exact")(read_image(tmp_path / "cat.jpg")))
    assert result.read_bytes() == (tmp_path / "expected.jpg").read_bytes()

    # Moving the slider changes how much of each image is visible.
    handle = page.get_by_role("slider").or_(page.locator(".outer")).first
    box = handle.bounding_box()
    before = page.screenshot()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 150, box["y"] + box["height"] / 2)
    page.mouse.up()
    assert page.screenshot() != before


def test_page_photo_weights_with_strength(page, tmp_path, photo_weights):
    Image.open(sample_path("chelsea")).crop((120, 60, 216, 132)).save(tmp_path / "cat.jpg", quality=60)
    upload(page, tmp_path / "cat.jpg")
    page.get_by_text("JPEG of quality 60: Photo weights reduce its artifacts").wait_for()
    strength = page.get_by_role("slider", name="Strength of Photo")
    assert not strength.is_visible()
    photo = page.get_by_role("radio", name="Photo")
    photo.click()
    strength.wait_for()
    page.get_by_role("radio", name="LAMNet-large").click()
    photo.wait_for(state="hidden")  # it has no such weights
    strength.wait_for(state="hidden")
    page.get_by_role("radio", name="LAMNet", exact=True).click()
    photo.wait_for()
    page.get_by_role("radio", name="×2").click()
    photo.click()
    strength.fill("0.5")
    page.get_by_label("Save as").click()
    page.get_by_role("option", name="PNG").click()
    page.get_by_role("button", name="Upscale").click()
    page.get_by_text("192 × 144 pixels").wait_for()
    expected = Upscaler("lamnet_x2", strength=0.5, tile="exact")(read_image(tmp_path / "cat.jpg"))
    assert np.array_equal(read_image(download(page, tmp_path)).pixels, expected.pixels)


def test_page_keeps_16_bit_alpha_and_profile_on_phone(page, tmp_path):
    page.set_viewport_size({"width": 390, "height": 844})
    y, x = np.mgrid[0:20, 0:26] / 26
    pixels = np.stack([x, y, (x + y) / 2, np.clip(2 * x, 0, 1)], axis=2)
    profile = pyvips.Image.new_from_array(np.zeros((2, 2, 3), np.uint8), interpretation="srgb")
    profile = profile.icc_transform("p3", input_profile="srgb").get("icc-profile-data")
    picture = Picture((65535 * pixels).round().astype(np.uint16), profile, (300.0, 300.0))
    write_image(tmp_path / "deep.tiff", picture)
    upload(page, tmp_path / "deep.tiff")
    page.get_by_text("26 × 20 pixels, 16 bits").wait_for()
    upscale(page, 3)
    page.get_by_text("78 × 60 pixels").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    result = read_image(download(page, tmp_path))
    expected = Upscaler("lamnet_x3", tile="exact")(read_image(tmp_path / "deep.tiff"))
    assert result.pixels.dtype == np.uint16
    difference = result.pixels.astype(int) - expected.pixels
    assert abs(difference).max() <= 1  # PyTorch's convolutions may round differently in another thread
    assert result.icc_profile == profile
    assert result.dpi == pytest.approx((300, 300), rel=1e-3)


def test_page_errors_match_command_without_options(page, lamnet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    Path("empty.jpg").touch()
    Path("<i>page.png").write_text("<html></html>")
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save("moving.webp", save_all=True, append_images=frames[1:])
    for name in ("damaged.png", "empty.jpg", "<i>page.png", "moving.webp"):
        _, _, line = lamnet("upscale", name)
        upload(page, name)
        message = line.removeprefix(f"lamnet: error: {name}: ").partition("; --")[0].strip()  # the page has no options
        alert = page.get_by_role("alert").filter(has_text=message)
        alert.wait_for()
        assert re.sub(r"[<>]", "", name) + ": " + message == alert.inner_text()  # Gradio removes brackets from names
        assert page.get_by_role("button", name="Upscale").is_disabled()
        page.get_by_role("button", name="Remove").or_(page.get_by_label("Clear")).first.click()
        alert.wait_for(state="detached")
    Image.new("RGBA", (8, 8), (255, 0, 0, 99)).save("alpha.png")
    upload(page, "alpha.png")
    page.get_by_text("8 × 8 pixels").wait_for()
    page.get_by_label("Save as").click()
    page.get_by_role("option", name="JPEG").click()
    upscale(page, 2)
    page.get_by_role("alert").filter(has_text=re.compile(r"alpha_x2\.jpg: .*transparency")).wait_for()


def results(folder):
    return {path.name for path in (folder / "tmp").glob("lamnet-app-*/*/*_x4.*")}


@pytest.mark.parametrize("action", ["closed", "cancelled"])
def test_page_cancelled_request_stops(action, browser, server, page, tmp_path):
    address, folder = server
    # Large enough to take longer than the server needs to notice a closed page.
    Image.open(sample_path("coffee")).resize((1680, 1200)).save(tmp_path / f"{action}.png")
    Image.new("RGB", (8, 8), "teal").save(tmp_path / "next.png")
    other = browser.new_page()
    other.goto(address)
    upload(other, tmp_path / f"{action}.png")
    other.get_by_text("1680 × 1200 pixels").wait_for()
    upscale(other, 4)
    other.get_by_text(re.compile(r"Upscaling - [1-9]")).first.wait_for(timeout=1000 * DEADLINE)
    if action == "cancelled":
        other.get_by_role("button", name="Cancel").click()
        other.get_by_role("button", name="Upscale").wait_for()
    other.close()
    upload(page, tmp_path / "next.png")
    page.get_by_text("8 × 8 pixels").wait_for()
    upscale(page, 4)
    page.get_by_text("32 × 32 pixels").wait_for()  # requests run one at a time: the other has ended
    assert not list((folder / "tmp").glob(f"lamnet-app-*/*/{action}_x4.png"))


def click(address, session, path, joined):
    """Send the page's requests for a click on "Upscale"; return the queue positions and the result."""
    httpx = pytest.importorskip("httpx")
    with httpx.Client(base_url=f"{address}/gradio_api", timeout=DEADLINE) as client:
        actions = {
            action["api_name"]: action["id"] for action in client.get(f"{address}/config").json()["dependencies"]
        }
        (upload,) = client.post("/upload", files={"files": (path.name, path.read_bytes())}).json()
        client.post("/run/predict", json={"fn_index": actions["begin"], "data": [], "session_hash": session})
        picture = {"path": upload, "meta": {"_type": "gradio.FileData"}}
        data = [picture, "LAMNet", 2, "clean", 1, "auto"]
        call = {"fn_index": actions["upscale"], "data": data, "session_hash": session}
        client.post("/queue/join", json=call).raise_for_status()
        joined.release()
        positions = []
        with client.stream("GET", "/queue/data", params={"session_hash": session}) as events:
            for event in (json.loads(line[5:]) for line in events.iter_lines() if line.startswith("data:")):
                if event["msg"] == "estimation":
                    positions.append(event["rank"])
                if event["msg"] == "process_completed":
                    assert event["success"], event
                    return positions, client.get(f"/file={event['output']['data'][2]['value']['path']}").content


@pytest.mark.slow
def test_page_ten_requests_are_queued(server, page, tmp_path):
    sizes = [(400, 300), *((10 + number, 12) for number in range(9))]  # the first takes long, so the others queue
    paths = [tmp_path / f"{number}.png" for number in range(10)]
    for path, size in zip(paths, sizes, strict=True):
        Image.new("RGB", size, "teal").save(path)
    upload(page, paths[-1])
    page.get_by_text("18 × 12 pixels").wait_for()
    joined = threading.Semaphore(0)
    with ThreadPoolExecutor(9) as executor:
        clicks = []
        for group in (paths[:1], paths[1:9]):
            clicks += [executor.submit(click, server[0], path.stem, path, joined) for path in group]
            for _ in group:
                assert joined.acquire(timeout=DEADLINE)
        upscale(page, 2)
        page.get_by_text(re.compile(r"queue: \d+/\d+")).first.wait_for()
        page.get_by_text("36 × 24 pixels").wait_for()
        positions, results = zip(*(click.result(DEADLINE) for click in clicks), strict=True)
    assert sum(max(ranks) > 0 for ranks in positions) >= 7
    for (width, height), content in zip(sizes, results, strict=False):
        assert Image.open(io.BytesIO(content)).size == (2 * width, 2 * height)


def test_app_port_in_use(lamnet):
    pytest.importorskip("gradio")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = lamnet("app", "--no-browser", "--port", port)
    assert (code, out) == (1, "")
    assert err.startswith("lamnet: error: ")
    assert f"port {port} of 127.0.0.1" in err
    assert err.count("\n") == 1


def test_app_without_gradio(lamnet, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    code, _, err = lamnet("app")
    assert code == 1
    assert err.count("\n") == 1
    assert "pip install 'lamnet[app]'" in err


def test_app_missing_model(lamnet, tmp_path):
    pytest.importorskip("gradio")
    code, _, err = lamnet("app", "--no-browser", "-n", tmp_path / "none.safetensors")
    assert code == 1
    assert err.count("\n") == 1
    assert "none.safetensors" in err
