"""Damaged files by the thousand, in a process of their own: one that crashes or hangs must not take the tests along."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux reports it")
def test_damaged_files_become_pictures_or_one_line(tmp_path, request):
    files, seed = request.config.getoption("--fuzz-files"), request.config.getoption("--fuzz-seed")
    command = [sys.executable, Path(__file__).parent / "run.py", "--files", str(files), "--seed", str(seed)]
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120 + files / 20, check=False
    )
    left = sorted(path.name for path in tmp_path.iterdir())
    assert (result.returncode, result.stderr, left) == (0, "", []), result.stdout
    counts = {
        name: int(count) for name, _, count in (line.rpartition(": ") for line in result.stdout.splitlines()[:-1])
    }
    for form in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"):
        assert counts[f"{form} read"] > 0
        assert counts[f"{form} refused"] > 0
