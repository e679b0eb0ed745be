"""Make the screenshots of docs/app.md with Chromium.

Usage: ``python docs/_generate/screenshots.py``.
"""

from __future__ import annotations

import io
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from assets import ASSETS
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from lamnet_models.data.catalog import sample_path

VIEWS = {"app-desktop": (1180, 760, "light"), "app-phone": (390, 1000, "dark")}


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Yield the installed Chromium, without a window."""
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def page_address() -> Iterator[str]:
    """Run ``lamnet app`` and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "lamnet_cli", "app", "--no-browser", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().split()[0]
    finally:
        process.terminate()
        process.wait()


def take_screenshot(browser: Browser, address: str, photo: Path, name: str) -> None:
    """Upscale a photograph in the app and save a screenshot of the result."""
    width, height, scheme = VIEWS[name]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=1.5)
    page.goto(address)
    page.set_input_files("input[type=file]", photo)
    page.get_by_text("bits per channel").wait_for()
    page.get_by_role("button", name="Upscale").click()
    page.get_by_text("pinch to zoom").wait_for(timeout=120_000)
    page.wait_for_timeout(1000)  # until the images are painted
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(ASSETS / f"{name}.webp", quality=80, method=6)
    page.close()


def main() -> None:
    """Write the screenshots."""
    with tempfile.TemporaryDirectory() as folder, page_address() as address, open_browser() as browser:
        photo = Path(folder) / "cat.png"
        Image.open(sample_path("chelsea")).reduce(2).crop((40, 0, 220, 135)).save(photo)
        for name in VIEWS:
            take_screenshot(browser, address, photo, name)


if __name__ == "__main__":
    main()
