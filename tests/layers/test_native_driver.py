"""The C++ kernels without Python: under sanitizers, with other vector sizes, compilers and processors."""

import os
import platform
import shutil
import subprocess
from array import array
from pathlib import Path

import pytest

from lamnet_layers.ops.native import library

DRIVER = Path(__file__).with_name("native_driver.cpp")
SOURCES = DRIVER.parents[2] / "lamnet_layers" / "ops" / "native" / "src"
WARNINGS = ["-Wall", "-Wextra", "-Wno-psabi", "-Werror"]  # vectors are passed to inlined functions only
SANITIZERS = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
BUILDS = {
    "avx2": ["g++", "-O1", "-march=x86-64-v3", "-ffp-contract=fast"],
    "16-lanes": ["g++", "-O1", "-march=x86-64-v3", "-DLAMNET_LANES=16"],
    "clang": ["clang++", "-O1"],
    "aarch64": ["aarch64-linux-gnu-g++", "-O1", "-static"],
}


def run_driver(
    folder: Path, compiler: str, *flags: str, emulator: tuple[str, ...] = (), options: tuple[str, ...] = ()
) -> list[array]:
    """Compile and run the driver; return the tensors that it writes."""
    for program in (compiler, *emulator):
        if not shutil.which(program):
            pytest.skip(f"needs {program}")
    check = [compiler, "-fopenmp", "-x", "c++", "-", "-o", str(folder / "check")]
    if subprocess.run(check, input=b"int main() {}", capture_output=True).returncode:
        pytest.skip(f"needs OpenMP for {compiler}")
    command = [compiler, "-std=c++17", "-fopenmp", *WARNINGS, *flags, str(DRIVER), "-o", str(folder / "driver")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    command = [*emulator, str(folder / "driver"), str(folder / "outputs"), *options]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_WAIT_POLICY": "passive"})
    assert result.returncode == 0, result.stdout + result.stderr
    return read_tensors(folder / "outputs")


def read_tensors(path: Path) -> list[array]:
    tensors = []
    with path.open("rb") as file:
        while header := file.read(8):
            tensors.append(array("f", file.read(4 * int.from_bytes(header, "little"))))
    return tensors


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> list[array]:
    """Outputs of the build for the baseline processor, whose memory accesses are checked."""
    return run_driver(tmp_path_factory.mktemp("sanitizers"), "g++", *SANITIZERS)


@pytest.mark.slow
def test_sanitizers(expected):
    assert len(expected) > 1000


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDS)
def test_builds_agree(name, expected, tmp_path):
    if any("x86-64" in flag for flag in BUILDS[name]) and platform.machine() != "x86_64":
        pytest.skip("needs an x86-64 processor")
    tensors = run_driver(tmp_path, *BUILDS[name], emulator=("qemu-aarch64",) if name == "aarch64" else ())
    assert max(errors(tensors, expected)) <= 1e-5


@pytest.mark.slow
def test_bf16_with_sanitizers(expected, tmp_path):
    if library.unavailable_reason() or not library.bf16_available():
        pytest.skip("needs AMX")
    flags = (*SANITIZERS, "-march=skylake-avx512", "-Wno-maybe-uninitialized")  # of GCC's own headers
    tensors = run_driver(tmp_path, "g++", *flags, options=("bf16",))
    ordered = sorted(errors(tensors, expected))
    assert ordered[len(ordered) // 2] < 5e-3
    assert ordered[len(ordered) * 9 // 10] < 2e-2  # rounding has larger effects on norms of two channels
    assert ordered[len(ordered) // 2] > 1e-4  # the products are not in float32


def errors(tensors: list[array], expected: list[array]) -> list[float]:
    """Return the largest error of each tensor, relative to its largest value or 1."""
    assert [len(tensor) for tensor in tensors] == [len(tensor) for tensor in expected]
    return [
        max((abs(a - b) for a, b in zip(first, second, strict=True)), default=0) / max([1, *map(abs, second)])
        for first, second in zip(tensors, expected, strict=True)
    ]


def test_compiles_as_on_macos(tmp_path):
    """There, int64_t is long long rather than long, and omp.h is missing."""
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    for path in SOURCES.iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace("int64_t", "long long"))
    (tmp_path / "omp.h").write_text("#error omp.h is missing")
    command = ["g++", "-std=c++17", "-fopenmp", "-fsyntax-only", *WARNINGS, "-I.", "kernels.cpp"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
