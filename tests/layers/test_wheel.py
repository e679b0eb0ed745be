"""The released distributions: ``lamnet-layers``, and ``lamnet``, which requires it."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest
import torch
from packaging.version import Version

import lamnet_layers

ROOT = Path(__file__).resolve().parents[2]
VERSION = lamnet_layers.__version__
VARIANT = "avx2" if platform.machine() == "x86_64" else "neon"

USE = """
import json, sys
import lamnet_layers as layers, torch

names = "fsa ulm csm lam dgfn".split()
model = torch.nn.Sequential(*(layers.create_layer(name, 8) for name in names))
tokens = torch.randn(2, 30, 8, requires_grad=True)
layers.TokenAdapter(model, grid=(5, 6))(tokens).square().mean().backward()
missing = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.isfinite().all()]
report = {"file": layers.__file__, "missing": missing, "modules": sorted(sys.modules)}
print(json.dumps({**report, "native": layers.unavailable_reason("native", "cpu")}))
"""


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["plain", "compiled"])
def compiled(request):
    """Whether the wheels are built with a C++ compiler."""
    if request.param and not shutil.which("g++"):
        pytest.skip("needs g++")
    return request.param


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """Copy of the sources."""
    if not {"pip", "setuptools"} <= {distribution.name for distribution in metadata.distributions()}:
        pytest.skip("needs pip and setuptools to build the wheels")
    folder = tmp_path_factory.mktemp("checkout")
    ignore = shutil.ignore_patterns("__pycache__", "build", "*.egg-info", "*.so")
    for name in ("lamnet_layers", "lamnet_models", "cli", "packaging"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore, symlinks=True)
    for name in ("LICENSE", "README.md", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def sdists(checkout, tmp_path_factory):
    """Source distributions by name."""
    out = tmp_path_factory.mktemp("sdists")
    code = f"""
from setuptools import build_meta
build_meta.get_requires_for_build_sdist()  # as frontends do; writes a list of files, which build_sdist reads
build_meta.build_sdist({str(out)!r})
"""
    for folder in (checkout / "packaging" / "layers", checkout):
        _run([sys.executable, "-c", code], cwd=folder)
    return {path.name.partition("-")[0]: path for path in out.iterdir()}


@pytest.fixture(scope="module")
def wheels(sdists, compiled, tmp_path_factory):
    """Wheels by name, built from the source distributions."""
    out = tmp_path_factory.mktemp("wheels")
    environment = {} if compiled else {"CC": "false", "CXX": "false"}
    for path in sdists.values():
        options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "-w", str(out)]
        _run([sys.executable, "-m", "pip", "wheel", *options, str(path)], env={**os.environ, **environment})
    return {path.name.partition("-")[0]: path for path in out.iterdir()}


@pytest.fixture
def wheel(wheels):
    """Wheel of ``lamnet-layers``."""
    return wheels["lamnet_layers"]


def _run(command, **options):
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_wheel_contents(wheel, compiled):
    tag = re.sub(r"\W", "_", sysconfig.get_platform())
    assert wheel.name == f"lamnet_layers-{VERSION}-py3-none-{tag}.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = f"lamnet_layers-{VERSION}.dist-info"
        wheel_metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    modules = {f"lamnet_layers/{path.relative_to(ROOT / 'lamnet_layers')}" for path in _modules()}
    libraries = {name for name in names if name.endswith(".so")}
    assert {name for name in names if not name.startswith(info)} == {*modules, "lamnet_layers/py.typed", *libraries}
    assert (f"lamnet_layers/ops/native/kernels_{VARIANT}.so" in libraries) == compiled
    assert [name.partition(">")[0] for name in wheel_metadata.get_all("Requires-Dist")] == ["torch"]
    assert "lamnet" in wheel_metadata.get_payload()


def test_lamnet_wheel_requires_layers(wheels, sdists):
    assert wheels["lamnet"].name == f"lamnet-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheels["lamnet"]) as archive:
        names = archive.namelist()
        in_wheel = archive.read(f"lamnet-{VERSION}.dist-info/METADATA").decode()
    assert {name.partition("/")[0] for name in names} == {"lamnet_models", "lamnet_cli", f"lamnet-{VERSION}.dist-info"}
    with tarfile.open(sdists["lamnet"]) as archive:
        in_sdist = archive.extractfile(f"lamnet-{VERSION}/PKG-INFO").read().decode()
    for text in (in_wheel, in_sdist):
        first, *others = Parser().parsestr(text).get_all("Requires-Dist")
        assert first == f"lamnet-layers=={VERSION}"
        assert {*others} == {*metadata.requires("lamnet")} - {first}


def test_sdist_contents(sdists):
    tops, files = {}, {}
    for name, path in sdists.items():
        with tarfile.open(path) as archive:
            files[name] = {name.partition("/")[2] for name in archive.getnames()}
        tops[name] = {file.partition("/")[0] for file in files[name]} - {"", "PKG-INFO", "setup.cfg"}
    assert tops["lamnet"] == {"LICENSE", "README.md", "cli", "lamnet_models", "pyproject.toml"}
    assert "lamnet_models" not in tops["lamnet_layers"]
    sources = ROOT / "lamnet_layers" / "ops" / "native" / "src"
    kernels = {str(path.relative_to(ROOT)) for path in sources.iterdir()}
    assert kernels <= files["lamnet_layers"]


def test_wheels_share_no_file(wheels):
    layers, lamnet = (set(zipfile.ZipFile(path).namelist()) for path in wheels.values())
    assert layers
    assert lamnet
    assert not layers & lamnet


@pytest.fixture
def environment(tmp_path):
    """New virtual environment, as a function that runs pip for it; and its folder of packages."""
    if Version(metadata.version("pip")) < Version("22.3"):
        pytest.skip("needs pip 22.3 for --python")
    folder = tmp_path / "venv"
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    (packages,) = folder.glob("[Ll]ib/**/site-packages")
    return lambda *arguments: _run([sys.executable, "-m", "pip", "--python", str(folder), *arguments]), packages


@pytest.mark.parametrize("removed", ["lamnet", "lamnet_layers"])
def test_uninstall_keeps_other_distribution(wheels, environment, removed):
    pip, packages = environment
    (other,) = wheels.keys() - {removed}
    pip("install", "--quiet", "--no-deps", "--no-index", *map(str, wheels.values()))
    expected = {name: (packages / name).read_bytes() for name in zipfile.ZipFile(wheels[other]).namelist()}
    pip("uninstall", "--quiet", "--yes", removed)
    folders = {"lamnet": {"lamnet_models", "lamnet_cli"}, "lamnet_layers": {"lamnet_layers"}}
    assert {path.name for path in packages.glob("lamnet*")} == {f"{other}-{VERSION}.dist-info", *folders[other]}
    records = f"{other}-{VERSION}.dist-info/RECORD"  # pip adds its own files to it
    assert all((packages / name).read_bytes() == data for name, data in expected.items() if name != records)


def test_released_distributions_run(wheels, compiled, environment):
    pip, packages = environment
    pip("install", "--quiet", "--no-deps", "--no-index", *map(str, wheels.values()))
    code = """
import json, sys
sys.path += sys.argv[1:]
import lamnet_cli.main, lamnet_layers, lamnet_models

lamnet_models.create_model("lamnet_x2")
files = [lamnet_cli.__file__, lamnet_layers.__file__, lamnet_models.__file__]
print(json.dumps({"files": files, "native": lamnet_layers.unavailable_reason("native", "cpu")}))
"""
    report = json.loads(_run([sys.executable, "-I", "-S", "-c", code, str(packages), *sys.path]))
    assert all(Path(file).is_relative_to(packages) for file in report["files"])
    assert (report["native"] is None) == compiled


def _modules():
    return (ROOT / "lamnet_layers").rglob("*.py")


def test_versions_match():
    assert metadata.version("lamnet") == VERSION


def test_wheel_without_timm(wheel, compiled, tmp_path):
    """Run the layers in an environment with torch, but without timm, lamnet_models, lamnet_cli and a compiler."""
    packages = tmp_path / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    torch_folder = Path(torch.__file__).parents[1]
    for path in torch_folder.iterdir():
        if path.name.partition("-")[0] not in ("timm", "lamnet", "torchvision") and not path.name.startswith("lamnet"):
            (packages / path.name).symlink_to(path)
    code = f"import sys; sys.path.append({str(packages)!r})\n{USE}"
    command = [sys.executable, "-I", "-S", "-c", code]
    result = subprocess.run(command, env={"PATH": ""}, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert Path(report["file"]).is_relative_to(packages)
    assert not report["missing"]
    assert (report["native"] is None) == compiled
    assert compiled or ("compiler" in report["native"] and "\n" not in report["native"])
    assert not {name.partition(".")[0] for name in report["modules"]} & {"timm", "torchvision", "lamnet_models"}
    timm_import = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(packages)!r}); import timm"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "No module named 'timm'" in timm_import.stderr, "the environment has timm"
