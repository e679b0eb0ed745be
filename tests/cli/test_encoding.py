"""Output that cannot be written as it is: a batch continues, reports and JSON are complete, errors name the stream."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from lamnet_cli.main import main
from PIL import Image


@pytest.fixture
def run(monkeypatch, photos):
    """Function that runs a command with strict streams of an encoding; returns exit code, standard output and error."""
    monkeypatch.chdir(photos)

    def run(*arguments, encoding):
        streams = [io.TextIOWrapper(io.BytesIO(), encoding, errors="strict") for _ in range(2)]
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        for stream in streams:
            stream.flush()
        return end.value.code or 0, *(stream.buffer.getvalue() for stream in streams)

    return run


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


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8"])
def test_upscale_continues(photos, run, tiny_model, encoding):
    arguments = ("upscale", "photos", "-o", "out", "-n", str(tiny_model), "--report", "report.jsonl")
    code, _, err = run(*arguments, encoding=encoding)
    assert code == 0, err
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
def test_commands_print_any_name(run, arguments):
    code, out, err = run(*arguments, encoding="ascii")
    assert code == (1 if "missing" in arguments[-1] else 0), err
    if "--json" in arguments:
        json.loads(out)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["list"]], ids=" ".join)
def test_full_disk_names_standard_output(photos, arguments):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "lamnet_cli", *arguments]
        result = subprocess.run(command, cwd=photos, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300)
    assert result.returncode == 1
    assert result.stderr == "lamnet: error: standard output: No space left on device\n"
