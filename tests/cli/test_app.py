"""``lamnet app``: a real server, a real browser, real clicks."""

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
from PIL import Image

from lamnet_models import Upscaler
from lamnet_models.datasets.samples import sample_path
from lamnet_models.images import Picture, read_image, write_image

CHROMIUM = Path("/usr/bin/chromium")
DEADLINE = 120

# Runs the command, and writes down every host that it looks up or connects to other than this one.
GUARDED = """
import socket, sys
log = open(sys.argv.pop(1), "a", buffering=1)
look_up, connect = socket.getaddrinfo, socket.socket.connect

def checked(host):
    if str(host) not in ("127.0.0.1", "localhost", "::1", "0.0.0.0"):
        log.write(f"{host}\\n")

def getaddrinfo(host, *arguments, **options):
    checked(host)
    return look_up(host, *arguments, **options)

def connecting(self, address):
    checked(address[0] if isinstance(address, tuple) else "127.0.0.1")
    return connect(self, address)

socket.getaddrinfo, socket.socket.connect = getaddrinfo, connecting
from lamnet_cli.main import main
main(sys.argv[1:])
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def app(folder, *arguments):
    """The running command; yields the address, the process, and the file with the hosts that it asked."""
    pytest.importorskip("gradio")
    hosts, port = folder / "hosts.txt", free_port()
    (folder / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", GUARDED, hosts, "app", "--no-browser", "--port", str(port), *arguments]
    with open(folder / "errors.txt", "w") as errors:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith(f"http://127.0.0.1:{port}"), (folder / "errors.txt").read_text()
        yield line.split()[0].rstrip("/"), process, hosts
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("app")
    with app(folder) as (address, process, hosts):
        yield address, folder
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
        assert hosts.read_text() == ""  # nobody was asked for anything
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
    """A page in the browser that may ask the server alone."""
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    page.set_default_timeout(1000 * DEADLINE)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server[0])
    yield page
    page.close()
    assert asked
    assert all(url.startswith((server[0], "data:", "blob:")) for url in asked)


def drop(page, path):
    page.set_input_files("input[type=file]", path)


def enlarge(page, scale):
    page.get_by_role("radio", name=f"×{scale}").click()
    page.get_by_role("button", name="Enlarge").click()


def download(page, folder):
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").or_(page.get_by_role("link", name="Download")).first.click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_a_photograph_is_dropped_enlarged_compared_and_downloaded(page, tmp_path):
    Image.open(sample_path("chelsea")).crop((120, 60, 216, 132)).save(tmp_path / "cat.jpg", quality=95, dpi=(300, 300))
    assert page.get_by_role("button", name="Enlarge").is_disabled()
    drop(page, tmp_path / "cat.jpg")
    page.get_by_text("96 × 72 pixels of 8 bits").wait_for()
    page.get_by_role("radio", name="LAMNet-large").click()
    enlarge(page, 2)
    page.get_by_text("192 × 144 pixels").wait_for()
    result = download(page, tmp_path)
    assert result.name == "cat_x2.jpg"
    write_image(tmp_path / "expected.jpg", Upscaler("lamnet_large_x2", tile="exact")(read_image(tmp_path / "cat.jpg")))
    assert result.read_bytes() == (tmp_path / "expected.jpg").read_bytes()

    # The slider shows more of one or the other: the part of the upper picture that is left out grows.
    handle = page.get_by_role("slider").or_(page.locator(".outer")).first
    box = handle.bounding_box()
    before = page.screenshot()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 150, box["y"] + box["height"] / 2)
    page.mouse.up()
    assert page.screenshot() != before


def test_deep_colours_alpha_and_profile_on_a_telephone(page, tmp_path):
    page.set_viewport_size({"width": 390, "height": 844})
    y, x = np.mgrid[0:20, 0:26] / 26
    pixels = np.stack([x, y, (x + y) / 2, np.clip(2 * x, 0, 1)], axis=2)
    profile = pyvips.Image.new_from_array(np.zeros((2, 2, 3), np.uint8), interpretation="srgb")
    profile = profile.icc_transform("p3", input_profile="srgb").get("icc-profile-data")
    picture = Picture((65535 * pixels).round().astype(np.uint16), profile, (300.0, 300.0))
    write_image(tmp_path / "deep.tiff", picture)
    drop(page, tmp_path / "deep.tiff")
    page.get_by_text("26 × 20 pixels of 16 bits").wait_for()
    enlarge(page, 3)
    page.get_by_text("78 × 60 pixels").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    larger = read_image(download(page, tmp_path))
    expected = Upscaler("lamnet_x3", tile="exact")(read_image(tmp_path / "deep.tiff"))
    assert larger.pixels.dtype == np.uint16
    assert np.array_equal(larger.pixels, expected.pixels)
    assert larger.icc_profile == profile
    assert larger.dpi == pytest.approx((300, 300), rel=1e-3)


def test_refuses_what_the_command_refuses(page, lamnet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    Path("empty.jpg").touch()
    Path("<i>page.png").write_text("<html></html>")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save("moving.webp", save_all=True, append_images=frames[1:])
    for name in ("damaged.png", "empty.jpg", "<i>page.png", "moving.webp"):
        _, _, line = lamnet("upscale", name)
        drop(page, name)
        words = line.removeprefix(f"lamnet: error: {name}: ").strip()
        alert = page.get_by_role("alert").filter(has_text=words)
        alert.wait_for()
        assert re.sub(r"[<>]", "", name) + ": " + words == alert.inner_text()  # Gradio leaves brackets out of names
        assert page.get_by_role("button", name="Enlarge").is_disabled()
        page.get_by_role("button", name="Remove").or_(page.get_by_label("Clear")).first.click()
        alert.wait_for(state="detached")
    Image.new("RGBA", (8, 8), (255, 0, 0, 99)).save("alpha.png")
    drop(page, "alpha.png")
    page.get_by_text("8 × 8 pixels").wait_for()
    page.get_by_label("Save as").click()
    page.get_by_role("option", name="JPEG").click()
    enlarge(page, 2)
    page.get_by_role("alert").filter(has_text="alpha_x2.jpg: JPEG does not support transparency").wait_for()


def results(folder):
    return {path.name for path in (folder / "tmp").glob("lamnet-app-*/*/*_x4.*")}


@pytest.mark.parametrize("way", ["closed", "cancelled"])
def test_work_that_nobody_waits_for_ends_and_harms_nobody(way, browser, server, page, tmp_path):
    address, folder = server
    Image.open(sample_path("coffee")).resize((560, 400)).save(tmp_path / f"{way}.png")
    Image.new("RGB", (8, 8), "teal").save(tmp_path / "next.png")
    other = browser.new_page()
    other.goto(address)
    drop(other, tmp_path / f"{way}.png")
    other.get_by_text("560 × 400 pixels").wait_for()
    enlarge(other, 4)
    other.get_by_text(re.compile(r"Enlarging - [1-9]")).first.wait_for(timeout=1000 * DEADLINE)
    if way == "cancelled":
        other.get_by_role("button", name="Cancel").click()
        other.get_by_role("button", name="Enlarge").wait_for()
    other.close()
    drop(page, tmp_path / "next.png")
    page.get_by_text("8 × 8 pixels").wait_for()
    enlarge(page, 4)
    page.get_by_text("32 × 32 pixels").wait_for()  # one piece of work runs at a time: the other has ended
    assert not list((folder / "tmp").glob(f"lamnet-app-*/*/{way}_x4.png"))


def click(address, session, path, joined):
    """Does what the page does for somebody's click on "Enlarge"; returns the places in the queue and the result."""
    httpx = pytest.importorskip("httpx")
    with httpx.Client(base_url=f"{address}/gradio_api", timeout=DEADLINE) as client:
        actions = {
            action["api_name"]: action["id"] for action in client.get(f"{address}/config").json()["dependencies"]
        }
        (upload,) = client.post("/upload", files={"files": (path.name, path.read_bytes())}).json()
        client.post("/run/predict", json={"fn_index": actions["begin"], "data": [], "session_hash": session})
        picture = {"path": upload, "meta": {"_type": "gradio.FileData"}}
        call = {"fn_index": actions["enlarge"], "data": [picture, "LAMNet", 2, "auto"], "session_hash": session}
        client.post("/queue/join", json=call).raise_for_status()
        joined.release()
        places = []
        with client.stream("GET", "/queue/data", params={"session_hash": session}) as events:
            for event in (json.loads(line[5:]) for line in events.iter_lines() if line.startswith("data:")):
                if event["msg"] == "estimation":
                    places.append(event["rank"])
                if event["msg"] == "process_completed":
                    assert event["success"], event
                    return places, client.get(f"/file={event['output']['data'][2]['value']['path']}").content


def test_ten_people_at_once_wait_in_a_queue(server, page, tmp_path):
    sizes = [(400, 300), *((10 + number, 12) for number in range(9))]  # the first keeps the others waiting
    paths = [tmp_path / f"{number}.png" for number in range(10)]
    for path, size in zip(paths, sizes, strict=True):
        Image.new("RGB", size, "teal").save(path)
    drop(page, paths[-1])
    page.get_by_text("18 × 12 pixels").wait_for()
    joined = threading.Semaphore(0)
    with ThreadPoolExecutor(9) as people:
        clicks = []
        for group in (paths[:1], paths[1:9]):
            clicks += [people.submit(click, server[0], path.stem, path, joined) for path in group]
            for _ in group:
                assert joined.acquire(timeout=DEADLINE)
        enlarge(page, 2)
        page.get_by_text(re.compile(r"queue: \d+/\d+")).first.wait_for()
        page.get_by_text("36 × 24 pixels").wait_for()
        places, results = zip(*(click.result(DEADLINE) for click in clicks), strict=True)
    assert sum(max(ranks) > 0 for ranks in places) >= 7
    for (width, height), content in zip(sizes, results, strict=False):
        assert Image.open(io.BytesIO(content)).size == (2 * width, 2 * height)


def test_a_taken_port_is_one_line(lamnet):
    pytest.importorskip("gradio")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = lamnet("app", "--no-browser", "--port", port)
    assert (code, out) == (1, "")
    assert err == f"lamnet: error: port {port} on 127.0.0.1 is taken or not allowed; choose another one\n"


def test_without_gradio_one_line_says_what_to_install(lamnet, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    code, _, err = lamnet("app")
    assert code == 1
    assert err.count("\n") == 1
    assert "pip install 'lamnet[app]'" in err


def test_a_missing_model_is_one_line(lamnet, tmp_path):
    pytest.importorskip("gradio")
    code, _, err = lamnet("app", "--no-browser", "-n", tmp_path / "none.safetensors")
    assert code == 1
    assert err.count("\n") == 1
    assert "no such file" in err
