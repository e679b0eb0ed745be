"""Output that cannot be written as it is: a batch continues, reports and JSON are complete, errors name the stream."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image


def run(*arguments, encoding, folder):
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "lamnet_cli", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=300)


@pytest.fixture
def photos(tmp_path):
    """Folder with two images: one name is not ASCII, the other is not valid UTF-8 where the file system allows that."""
    (tmp_path / "photos").mkdir()
    names = [b"\xce\xb1.png", b"z\xe9.png" if sys.platform == "linux" else b"z.png"]
    for name in names:
        path = os.fsencode(tmp_path / "photos") + b"/" + name
        with open(path, "wb") as file:
            Image.fromarray(np.full((24, 26, 3), 90, np.uint8)).save(file, "PNG")
    return tmp_path


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8:strict"])
def test_upscale_continues(photos, encoding):
    result = run(
        "upscale", "photos", "-o", "out", "-s", "2", "--report", "report.jsonl", encoding=encoding, folder=photos
    )
    assert result.returncode == 0, result.stderr
    assert b"Traceback" not in result.stderr
    assert len(list((photos / "out").iterdir())) == 2
    rows = [json.loads(line) for line in (photos / "report.jsonl").read_text("utf-8").splitlines()]
    assert {os.fsencode(row["target"]) for row in rows} == {
        os.fsencode(f"out/{p.name}") for p in (photos / "out").iterdir()
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["upscale", "photos", "--dry-run", "--json"],
        ["eval", "bicubic", "-d", "photos", "--scale", "2", "--per-image"],
        ["upscale", os.fsdecode(b"missing\xe9.png")],
    ],
    ids=" ".join,
)
def test_commands_print_any_name(photos, arguments):
    result = run(*arguments, encoding="ascii", folder=photos)
    assert b"Traceback" not in result.stderr
    assert result.returncode == (1 if "missing" in arguments[-1] else 0), result.stderr
    if "--json" in arguments:
        json.loads(result.stdout)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["list"]], ids=" ".join)
def test_full_disk_names_standard_output(photos, arguments):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "lamnet_cli", *arguments]
        result = subprocess.run(command, cwd=photos, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300)
    assert result.returncode == 1
    assert result.stderr == "lamnet: error: standard output: No space left on device\n"
