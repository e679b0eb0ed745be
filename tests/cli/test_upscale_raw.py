"""``lamnet upscale -``: raw video, with and without ffmpeg."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from lamnet_cli.main import main

from lamnet_models import Upscaler

WIDTH, HEIGHT, FRAMES = 16, 12, 5


@pytest.fixture
def pipe(tiny_model, monkeypatch, capsysbinary):
    """Function that upscales raw frames from standard input, in this process."""

    def run(data, *options):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))
        with pytest.raises(SystemExit) as end:
            main(["upscale", "-", "-n", str(tiny_model), *options])
        return subprocess.CompletedProcess(options, end.value.code, *capsysbinary.readouterr())

    return run


def video():
    return np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)


def test_raw_frames(pipe, tiny_model):
    result = pipe(video().tobytes(), "--size", f"{WIDTH}x{HEIGHT}", "-o", "-")
    assert (result.returncode or 0, result.stderr) == (0, b"")
    frames = np.frombuffer(result.stdout, np.uint8).reshape(FRAMES, 2 * HEIGHT, 2 * WIDTH, 3)
    upscaler = Upscaler(tiny_model)
    for frame, upscaled in zip(video(), frames, strict=True):
        np.testing.assert_array_equal(upscaled, upscaler(frame))


def test_raw_truncated_stream(pipe):
    result = pipe(video().tobytes()[:-7], "--size", f"{WIDTH}x{HEIGHT}", "-s", "1.5")
    assert result.returncode == 1
    assert len(result.stdout) == (FRAMES - 1) * WIDTH * HEIGHT * 3 * 9 // 4
    assert result.stderr.decode().count("\n") == 1
    for value in (b"frame 5", b"569", b"576"):
        assert value in result.stderr


@pytest.mark.parametrize("frames", [0, FRAMES - 1])
def test_raw_truncated_stream_to_file(pipe, tmp_path, frames):
    size = WIDTH * HEIGHT * 3
    result = pipe(video().tobytes()[: frames * size + 7], "--size", f"{WIDTH}x{HEIGHT}", "-o", str(tmp_path / "a.raw"))
    assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)
    expected = [("a.raw", 4 * frames * size)] if frames else []
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == expected


@pytest.mark.parametrize(
    ("arguments", "code", "match"),
    [
        (["-"], 2, "--size"),
        (["-", "a.png", "--size", "4x4"], 2, "only input"),
        (["a.png", "--size", "4x4"], 2, "only input"),
        (["-", "--size", "4"], 2, "WIDTHxHEIGHT"),
    ],
)
def test_raw_wrong_usage(lamnet, arguments, code, match):
    result = lamnet("upscale", *arguments)
    assert (result[0], result[1], match in result[2]) == (code, "", True)


@pytest.mark.parametrize(
    "option",
    [
        "--suffix=_a",
        "--ext=auto",
        "--quality=95",
        "--metadata=strip",
        "--background=white",
        "--frames",
        "--max-pixels=9",
        "--recursive",
        "--skip-existing",
        "--dry-run",
        "--report=a.jsonl",
        "--json",
    ],
)
def test_raw_image_option_is_wrong_usage(lamnet, option):
    code, out, err = lamnet("upscale", "-", "--size", "4x4", option)
    assert (code, out, f"{option.split('=')[0]} requires image files" in err) == (2, "", True)


def test_raw_output_with_slash_is_wrong_usage(pipe, tmp_path):
    result = pipe(video().tobytes(), "--size", f"{WIDTH}x{HEIGHT}", "-o", f"{tmp_path}/a.raw/")
    assert (result.returncode, b"must be a file" in result.stderr) == (2, True)
    assert not list(tmp_path.iterdir())


def test_raw_empty_stream(pipe):
    result = pipe(b"", "--size", "4x4")
    assert (result.returncode, result.stdout) == (1, b"")
    assert b"frames" in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_raw_signal_while_input_stalls(tiny_model, tmp_path):
    command = [sys.executable, "-m", "lamnet_cli", "upscale", "-", "--size", "160x120", "-n", tiny_model]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "-o", tmp_path / "a.raw"], **pipes) as process:
        try:
            process.stdin.write(bytes(160 * 120 * 3 + 7))
            process.stdin.flush()
            deadline = time.monotonic() + 120
            while not sum(path.stat().st_size for path in tmp_path.iterdir()) and time.monotonic() < deadline:
                time.sleep(0.02)
            assert len(list(tmp_path.iterdir())) == 1
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 130
            assert b"rror" not in process.stderr.read()
        finally:
            process.kill()
    assert not list(tmp_path.iterdir())


def test_raw_ffmpeg(tiny_model, tmp_path):
    """The documented pipe."""
    if not shutil.which("ffmpeg"):
        pytest.skip("needs ffmpeg")
    quiet = "ffmpeg -loglevel error"
    subprocess.run(
        f"{quiet} -f lavfi -i testsrc=size=32x24:rate=5:duration=1 a.mkv", shell=True, check=True, cwd=tmp_path
    )
    subprocess.run(
        f"{quiet} -i a.mkv -f rawvideo -pix_fmt rgb24 - "
        f"| {sys.executable} -m lamnet_cli upscale - --size 32x24 -n {tiny_model} -o - "
        f"| {quiet} -f rawvideo -pix_fmt rgb24 -s 64x48 -r 5 -i - b.mkv",
        shell=True,
        check=True,
        cwd=tmp_path,
    )
    probe = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=width,height,nb_read_frames"]
    result = subprocess.run([*probe, "-of", "csv=p=0", "b.mkv"], capture_output=True, check=True, cwd=tmp_path)
    assert result.stdout.strip() == b"64,48,5"
