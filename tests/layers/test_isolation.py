"""Import rules: lamnet_layers depends on torch only, and packages import in one direction."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"lamnet_layers": "lamnet_layers", "lamnet_models": "lamnet_models", "lamnet_cli": "cli"}
ALLOWED = {
    "lamnet_layers": {"lamnet_layers"},
    "lamnet_models": {"lamnet_layers", "lamnet_models"},
    "lamnet_cli": {"lamnet_layers", "lamnet_models", "lamnet_cli"},
}


def run_python(code: str, *arguments: str) -> dict:
    """Run code in an isolated Python without site-packages or PYTHONPATH; return the JSON it prints."""
    command = [sys.executable, "-I", "-S", "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_import_layers_loads_only_torch():
    code = """
import json, sys
sys.path += sys.argv[1:]
import torch
before = set(sys.modules)
import lamnet_layers
print(json.dumps({"new": sorted(set(sys.modules) - before), "all": sorted(sys.modules)}))
"""
    modules = run_python(code, str(ROOT), *sys.path)
    new = {name.partition(".")[0] for name in modules["new"]}
    assert new - sys.stdlib_module_names == {"lamnet_layers"}
    heavy = {"timm", "torchvision", "triton", "PIL", "typer", "rich", "safetensors", "skimage", "scipy", "pyvips"}
    assert not heavy & set(modules["all"])


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Target folder of ``pip install --no-deps`` of the project."""
    if not {"pip", "setuptools"} <= {distribution.name for distribution in metadata.distributions()}:
        pytest.skip("needs pip and setuptools to install the project")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site-packages")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for folder in FOLDERS.values():
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    command += ["--target", str(target), str(source)]
    environment = {**os.environ, "CC": "false", "CXX": "false"}  # without the CPU kernels
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return target


def torch_and_its_requirements() -> set[str]:
    """Top-level modules of torch and its installed requirements."""
    distributions_seen, queue = set(), ["torch"]
    while queue:
        name = re.sub(r"[-_.]+", "-", queue.pop()).lower()
        if name in distributions_seen:
            continue
        distributions_seen.add(name)
        try:
            requirements = map(Requirement, metadata.requires(name) or [])
        except metadata.PackageNotFoundError:
            continue
        queue += [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return {
        module
        for module, distributions in metadata.packages_distributions().items()
        if distributions_seen & {re.sub(r"[-_.]+", "-", name).lower() for name in distributions}
    }


def test_layers_run_with_only_torch_installed(installed):
    code = """
import importlib.machinery, json, sys
target, torch_folder, *allowed = sys.argv[1:]

class OnlyTorch:
    # Blocks modules in torch's folder that are neither torch nor required by it.
    @staticmethod
    def find_spec(name, path=None, target=None):
        if path is not None or name in allowed or name.startswith("lamnet_"):
            return
        if importlib.machinery.PathFinder.find_spec(name, [torch_folder]):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, OnlyTorch)
sys.path += [target, torch_folder]
import lamnet_layers, torch

try:
    from lamnet_models import load_model
    blocked = None
except ModuleNotFoundError as error:
    blocked = error.name
block = lamnet_layers.LAMBlock(8, depth=1)
block(torch.randn(1, 8, 5, 6)).sum().backward()
print(json.dumps({"file": lamnet_layers.__file__, "blocked": blocked}))
"""
    torch_folder = Path(torch.__file__).parents[1]
    result = run_python(code, str(installed), str(torch_folder), *torch_and_its_requirements())
    assert Path(result["file"]).parent == installed / "lamnet_layers"
    assert result["blocked"] in ("safetensors", "timm"), "the environment has more than torch"


def test_install_contains_exactly_three_packages(installed):
    folders = {path.name for path in installed.iterdir() if path.is_dir() and not path.name.endswith(".dist-info")}
    assert folders - {"bin"} == set(FOLDERS)
    for package, folder in FOLDERS.items():
        files = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*.py")}
        assert {path.relative_to(installed / package) for path in (installed / package).rglob("*.py")} == files
    assert (installed / "lamnet_layers" / "py.typed").is_file()
    assert (installed / "lamnet_models" / "py.typed").is_file()
    (information,) = metadata.distributions(path=[str(installed)])
    assert not [name for name in information.requires if name.startswith("lamnet-layers")]


def imports(package: str) -> Iterator[tuple[str, str]]:
    """Yield every import of a package as (file and line, absolute module name)."""
    folder = ROOT / FOLDERS[package]
    for path in sorted(folder.rglob("*.py")):
        parents = [package, *path.relative_to(folder).parent.parts]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            location = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                yield from ((location, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level <= len(parents), f"{location} imports from above its package"
                base = parents[: len(parents) - node.level + 1] if node.level else []
                yield location, ".".join([*base, *filter(None, [node.module])])
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
                yield location, ast.unparse(node.args[0]).strip("'\"")


@pytest.mark.parametrize("package", FOLDERS)
def test_imports_one_directional(package):
    statements = list(imports(package))
    assert statements
    forbidden = {*FOLDERS, "cli"} - ALLOWED[package]
    violations = [f"{location}: {name}" for location, name in statements if name.partition(".")[0] in forbidden]
    assert not violations


@pytest.mark.parametrize("package", FOLDERS)
def test_no_private_names_cross_packages(package):
    private = re.compile(r"\b_(?!_)\w+")
    for path in sorted((ROOT / FOLDERS[package]).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and not node.level:
                module = node.module.partition(".")[0]
                if module in set(FOLDERS) - {package}:
                    names = [node.module, *(alias.name for alias in node.names)]
                    assert not any(map(private.search, names)), f"{path}:{node.lineno}"


def test_layers_import_only_torch_and_stdlib():
    allowed = {"torch", "lamnet_layers", "__future__", *sys.stdlib_module_names}
    kernels = "lamnet_layers/ops/triton/"  # imported lazily, if Triton is installed
    for location, name in imports("lamnet_layers"):
        module = name.partition(".")[0]
        assert module in allowed or (module == "triton" and location.startswith(kernels)), f"{location}: {name}"
