import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from filelock import FileLock

import lamnet_layers
import lamnet_models

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="session")
def docs():
    """Documentation folder, with its generators importable."""
    generators = str(DOCS / "_generate")
    sys.path.insert(0, generators)
    yield DOCS
    sys.path.remove(generators)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Site folder, built with ``--strict`` once for all workers."""
    pytest.importorskip("mkdocstrings", reason="needs the extra docs")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with FileLock(folder / "site.lock"):
        if not (folder / "site").is_dir():
            _build(folder / "site")
    return folder / "site"


def _build(folder):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    process = subprocess.run(command, cwd=DOCS.parent, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr


class _Handler(SimpleHTTPRequestHandler):
    """Handler of a folder whose subfolder ``demo`` is elsewhere, with additional headers and without a log."""

    def __init__(self, *args, demo, headers, **options):
        self._demo, self._headers = demo, headers
        super().__init__(*args, **options)

    def translate_path(self, path):
        *_, folder, name = path.split("/")
        return str(self._demo / name) if self._demo and folder == "demo" else super().translate_path(path)

    def end_headers(self):
        for header in self._headers.items():
            self.send_header(*header)
        super().end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def serve(site):
    """Function that serves the site and returns its address."""
    servers = []

    def start(demo=None, headers=None):
        handler = partial(_Handler, directory=str(site), demo=demo, headers=headers or {})
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/"

    yield start
    for server in servers:
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("needs a Chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def public_names():
    """Exported names, each with all import paths of the object."""
    packages = [lamnet_layers, lamnet_models]
    for root in (lamnet_layers, lamnet_models):
        modules = pkgutil.walk_packages(root.__path__, f"{root.__name__}.")
        packages += [importlib.import_module(module.name) for module in modules if module.ispkg]
    paths = {}
    for package in packages:
        for name in getattr(package, "__all__", ()):
            exported = getattr(package, name)
            aliases = paths.setdefault(id(exported), set())
            aliases.add(f"{package.__name__}.{name}")
            if hasattr(exported, "__qualname__"):
                aliases.add(f"{exported.__module__}.{exported.__qualname__}")
    return {min(aliases, key=len): aliases for aliases in paths.values()}
