"""The layers need torch alone, and the packages import each other one way."""

import ast
import json
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
    """Runs a program in a Python without site-packages, PYTHONPATH or working folder; returns the JSON it prints."""
    command = [sys.executable, "-I", "-S", "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_importing_the_layers_loads_nothing_that_torch_does_not():
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
    """A folder with what ``pip install --no-deps`` puts into somebody's site-packages."""
    if not {"pip", "setuptools"} <= {distribution.name for distribution in metadata.distributions()}:
        pytest.skip("needs pip and setuptools to install the project")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site-packages")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for folder in FOLDERS.values():
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    result = subprocess.run([*command, "--target", target, source], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return target


def torch_and_its_requirements() -> set[str]:
    """The top-level modules of torch and of everything that its own metadata requires here."""
    found, queue = set(), ["torch"]
    while queue:
        name = re.sub(r"[-_.]+", "-", queue.pop()).lower()
        if name in found:
            continue
        found.add(name)
        try:
            requirements = map(Requirement, metadata.requires(name) or [])
        except metadata.PackageNotFoundError:
            continue
        queue += [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return {
        module
        for module, distributions in metadata.packages_distributions().items()
        if found & {re.sub(r"[-_.]+", "-", name).lower() for name in distributions}
    }


def test_layers_work_where_torch_alone_is_installed(installed):
    code = """
import importlib.machinery, json, sys
target, torch_folder, *allowed = sys.argv[1:]

class OnlyTorch:
    # Refuses what lies in torch's folder and is neither torch nor required by it.
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
    import lamnet_models
    refused = None
except ModuleNotFoundError as error:
    refused = error.name
block = lamnet_layers.LAMBlock(8, depth=1)
block(torch.randn(1, 8, 5, 6)).sum().backward()
print(json.dumps({"file": lamnet_layers.__file__, "refused": refused}))
"""
    torch_folder = Path(torch.__file__).parents[1]
    result = run_python(code, str(installed), str(torch_folder), *torch_and_its_requirements())
    assert Path(result["file"]).parent == installed / "lamnet_layers"
    assert result["refused"] in ("safetensors", "timm"), "the environment was not torch's alone"


def test_installs_the_three_packages_and_no_other(installed):
    folders = {path.name for path in installed.iterdir() if path.is_dir() and not path.name.endswith(".dist-info")}
    assert folders - {"bin"} == set(FOLDERS)
    for package, folder in FOLDERS.items():
        files = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*.py")}
        assert {path.relative_to(installed / package) for path in (installed / package).rglob("*.py")} == files
    assert (installed / "lamnet_layers" / "py.typed").is_file()
    assert (installed / "lamnet_models" / "py.typed").is_file()


def imports(package: str) -> Iterator[tuple[str, str]]:
    """Yields every import statement of a package as (where, absolute name of the module)."""
    folder = ROOT / FOLDERS[package]
    for path in sorted(folder.rglob("*.py")):
        parents = [package, *path.relative_to(folder).parent.parts]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                yield from ((where, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level <= len(parents), f"{where} imports from above its package"
                base = parents[: len(parents) - node.level + 1] if node.level else []
                yield where, ".".join([*base, *filter(None, [node.module])])
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
                yield where, ast.unparse(node.args[0]).strip("'\"")


@pytest.mark.parametrize("package", FOLDERS)
def test_imports_run_one_way(package):
    found = list(imports(package))
    assert found
    ours = {*FOLDERS, "cli"}
    wrong = [f"{where}: {name}" for where, name in found if name.partition(".")[0] in ours - ALLOWED[package]]
    assert not wrong


def test_layers_import_torch_and_the_standard_library_only():
    allowed = {"torch", "lamnet_layers", "__future__", *sys.stdlib_module_names}
    kernels = "lamnet_layers/backends/triton/"  # imported only where they are wanted and Triton is there
    for where, name in imports("lamnet_layers"):
        module = name.partition(".")[0]
        assert module in allowed or (module == "triton" and where.startswith(kernels)), f"{where}: {name}"
