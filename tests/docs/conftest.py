import importlib
import os
import pkgutil
import subprocess
import sys
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
