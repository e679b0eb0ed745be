"""Fuzzing of image decoders in a separate process, isolated from crashes and hangs."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by Linux counters")
def test_read_image_damaged_files(tmp_path, request):
    files, seed = request.config.getoption("--fuzz-files"), request.config.getoption("--fuzz-seed")
    command = [sys.executable, Path(__file__).parent / "run.py", "--files", str(files), "--seed", str(seed)]
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120 + files / 20, check=False
    )
    leftovers = sorted(path.name for path in tmp_path.iterdir())
    assert (result.returncode, result.stderr, leftovers) == (0, "", []), result.stdout
    counts = {
        name: int(count) for name, _, count in (line.rpartition(": ") for line in result.stdout.splitlines()[:-1])
    }
    for form in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "PNM"):
        assert counts[f"{form} read"] > 0
        assert counts[f"{form} refused"] > 0
