"""Modules loaded by imports of ``lamnet_models``."""

import ast
import functools
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import lamnet_models

HEAVY = {
    "PIL",
    "accelerate",
    "huggingface_hub",
    "matplotlib",
    "psutil",
    "pyvips",
    "scipy",
    "skimage",
    "timm",
    "torch._dynamo",
    "torch._inductor",
    "torchvision",
}
LAZY_PACKAGES = (lamnet_models, lamnet_models.paper, lamnet_models.training)


@pytest.fixture
def run_python(tmp_path):
    """Function that runs code that assigns ``result``; returns its value and the names of all loaded modules."""
    return functools.partial(_run_python, tmp_path)


def _run_python(folder, code):
    code += "\nimport json, sys\nprint(json.dumps([globals().get('result'), sorted(sys.modules)]))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=folder)
    assert process.returncode == 0, process.stderr
    result, modules = json.loads(process.stdout)
    return result, set(modules)


def test_import_models_loads_no_torch(run_python):
    names, modules = run_python("import lamnet_models\nresult = dir(lamnet_models), lamnet_models.list_models()")
    assert not (HEAVY | {"torch", "safetensors"}) & modules
    assert set(names[0]) >= {*lamnet_models.__all__, "evaluation", "inference"}
    assert "lamnet_x4" in names[1]


def test_import_network_and_checkpoints_loads_only_torch_and_safetensors(run_python):
    _, modules = run_python("from lamnet_models import LAMNet, complexity, load_model, save_checkpoint")
    assert {"torch", "safetensors"} <= modules
    assert not HEAVY & modules


@pytest.mark.parametrize("package", LAZY_PACKAGES, ids=lambda package: package.__name__)
def test_public_names_are_imported_for_type_checkers(package):
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    names = {
        alias.name: f"{package.__name__}.{node.module}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(names) == sorted(package.__all__)
    for name, module in names.items():
        assert getattr(getattr(package, name), "__module__", module).startswith(module), name


@pytest.mark.parametrize("package", LAZY_PACKAGES, ids=lambda package: package.__name__)
def test_public_names_differ_from_submodules(package):
    submodules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert not submodules & set(package.__all__), "importing the submodule would replace the public name"


def test_subpackages_are_attributes():
    submodules = [module.name for module in pkgutil.iter_modules(lamnet_models.__path__) if module.ispkg]
    assert len(submodules) >= 10
    assert set(submodules) <= set(dir(lamnet_models))
    assert all(lamnet_models.__getattr__(name).__name__ == f"lamnet_models.{name}" for name in ("hub", "image_io"))
