"""The ``lamnet-layers`` distribution."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest
import torch

import lamnet_layers

ROOT = Path(__file__).resolve().parents[2]
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
    """Whether the wheel is built with a C++ compiler."""
    if request.param and not shutil.which("g++"):
        pytest.skip("needs g++")
    return request.param


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, compiled):
    """Wheel built from a copy of the sources."""
    if not {"pip", "setuptools"} <= {distribution.name for distribution in metadata.distributions()}:
        pytest.skip("needs pip and setuptools to build the wheel")
    source, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    ignore = shutil.ignore_patterns("__pycache__", "build", "*.egg-info", "*.so")
    for folder in ("lamnet_layers", "packaging"):
        shutil.copytree(ROOT / folder, source / folder, ignore=ignore, symlinks=True)
    for name in ("LICENSE", "setup.py"):
        shutil.copy(ROOT / name, source)
    environment = os.environ if compiled else {**os.environ, "CC": "false", "CXX": "false"}
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    command += ["-w", str(out), "./packaging/layers"]
    result = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    (path,) = out.iterdir()
    return path


def test_wheel_contents(wheel, compiled):
    tag = re.sub(r"\W", "_", sysconfig.get_platform())
    assert wheel.name == f"lamnet_layers-{lamnet_layers.__version__}-py3-none-{tag}.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = f"lamnet_layers-{lamnet_layers.__version__}.dist-info"
        wheel_metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    modules = {f"lamnet_layers/{path.relative_to(ROOT / 'lamnet_layers')}" for path in _modules()}
    libraries = {name for name in names if name.endswith(".so")}
    assert {name for name in names if not name.startswith(info)} == {*modules, "lamnet_layers/py.typed", *libraries}
    assert (f"lamnet_layers/ops/native/kernels_{VARIANT}.so" in libraries) == compiled
    assert [name.partition(">")[0] for name in wheel_metadata.get_all("Requires-Dist")] == ["torch"]
    assert "lamnet" in wheel_metadata.get_payload()


def _modules():
    return (ROOT / "lamnet_layers").rglob("*.py")


def test_versions_match():
    assert metadata.version("lamnet") == lamnet_layers.__version__


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
