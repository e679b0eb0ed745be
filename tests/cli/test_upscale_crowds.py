"""``lamnet upscale`` on folders: structure, existing outputs, dry runs, links, signals."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lamnet_models.image_io import read_image


@pytest.fixture
def nested_folder(tmp_path):
    """Nested folders of images, one of them damaged."""
    folder = tmp_path / "in"
    for index, name in enumerate(("a.png", "b/c.png", "b/d/e.jpg", ".hidden/f.png", "b/.g.png")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 8, 3), 40 * index, np.uint8)).save(path)
    (folder / "b/bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 50)
    (folder / "b/notes.txt").write_text("not an image")
    return folder


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_upscale_folder_structure(lamnet, tmp_path, tiny_model, nested_folder):
    out = tmp_path / "out"
    code, stdout, stderr = lamnet("upscale", nested_folder, "-n", tiny_model, "-o", out)
    assert code == 1
    assert files(out) == ["a_x2.png", "b/c_x2.png", "b/d/e_x2.jpg"]
    assert len(stdout.splitlines()) == 3
    skipped, error = stderr.splitlines()
    assert "1 .txt file skipped" in skipped
    assert "bad.png" in error
    assert lamnet("upscale", f"{nested_folder}/**/*.jpg", "-n", tiny_model, "-o", tmp_path / "pattern")[0] == 0
    assert files(tmp_path / "pattern") == ["b/d/e_x2.jpg"]


def test_upscale_no_recursive(lamnet, tmp_path, tiny_model, nested_folder):
    assert lamnet("upscale", nested_folder, "-n", tiny_model, "-o", tmp_path / "out", "--no-recursive")[0] == 0
    assert files(tmp_path / "out") == ["a_x2.png"]


def test_upscale_skips_own_outputs(lamnet, tiny_model, nested_folder):
    (nested_folder / "b/bad.png").unlink()
    for options in (["-o", nested_folder / "upscaled"], []):
        for _ in range(2):
            assert (
                lamnet("upscale", nested_folder / "a.png", nested_folder, "-n", tiny_model, *options, "--overwrite")[0]
                == 0
            )
        assert not [name for name in files(nested_folder) if name.count("_x2") > 1]
        shutil.rmtree(nested_folder / "upscaled", ignore_errors=True)


def test_upscale_skip_existing(lamnet, tmp_path, tiny_model, nested_folder):
    out, report = tmp_path / "out", tmp_path / "report.jsonl"
    (nested_folder / "b/bad.png").unlink()
    assert lamnet("upscale", nested_folder, "-n", tiny_model, "-o", out)[0] == 0
    before = (out / "a_x2.png").stat().st_mtime_ns
    (out / "b/c_x2.png").unlink()
    code, stdout, _ = lamnet(
        "upscale", nested_folder, "-n", tiny_model, "-o", out, "--skip-existing", "--report", report
    )
    assert code == 0
    assert [line.endswith("skipped") for line in stdout.splitlines()] == [True, False, True]
    assert (out / "a_x2.png").stat().st_mtime_ns == before
    assert (out / "b/c_x2.png").exists()
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    assert [row["skipped"] for row in rows] == [True, False, True]
    assert lamnet("upscale", nested_folder, "-n", tiny_model, "--skip-existing", "--overwrite")[0] == 2


def test_upscale_skip_existing_png_fallback(lamnet, tmp_path, tiny_model):
    pixels = np.zeros((6, 8, 4), np.uint8)
    pixels[2:, :, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.jp2", "TIFF")
    (tmp_path / "a.jp2").rename(tmp_path / "a.jpg")  # a TIFF by its content, with transparency
    for skipped in (False, True):
        code, out, _ = lamnet("upscale", tmp_path / "a.jpg", "-n", tiny_model, "--skip-existing", "--json")
        (row,) = json.loads(out)
        assert (code, row["skipped"], row["target"]) == (0, skipped, str(tmp_path / "a_x2.png"))


def write_difficult_inputs(folder):
    """Write images of which each needs another decision."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (20, 30, 3), np.uint8)
    rgba = np.dstack([rgb, rng.integers(0, 256, (20, 30), np.uint8)])
    Image.fromarray(rgb).save(folder / "same.png")
    Image.fromarray(rgb).save(folder / "same.jpg")
    Image.fromarray(rgba).save(folder / "alpha.bmp", "PNG")  # BMP by its name: no transparency
    Image.fromarray(rgba).save(folder / "alpha.webp")
    Image.fromarray(rgb).save(folder / "gray.gif")
    Image.fromarray(np.zeros((2, 8192, 3), np.uint8)).save(folder / "wide.webp")
    Image.fromarray(rgb).save(folder / "kept.png")
    (folder / "kept_x2.png").write_bytes(b"mine")
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 50)
    pages = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--json"],
        ["--ext", "png"],
        ["--ext", "jpg"],
        ["--ext", "jpg", "--background", "white"],
        ["--frames", "--overwrite"],
        ["--skip-existing"],
        ["--width", "50"],
        ["--tile", "0", "--max-memory", "LIMIT"],
        ["-o", "out"],
        ["-o", "bad.png/out"],
    ],
    ids=" ".join,
)
def test_upscale_dry_run_agrees_with_run(lamnet, tmp_path, tiny_model, monkeypatch, constant_memory, options):
    monkeypatch.chdir(tmp_path)
    write_difficult_inputs(tmp_path)
    if "LIMIT" in options:  # between the memory of the small images and that of the large one
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (300, 400, 3), np.uint8)).save("large.png")
        error = lamnet("upscale", ".", "-n", tiny_model, "--max-memory", "1M")[2]
        options = [*options[:-1], f"{int(re.search('at least ([0-9]+)M', error)[1]) + 30}M"]
    before = files(tmp_path)
    planned = lamnet("upscale", ".", "-n", tiny_model, *options, "--dry-run")
    assert files(tmp_path) == before
    done = lamnet("upscale", ".", "-n", tiny_model, *options)
    assert planned == done
    assert done[0] == 1


def test_upscale_name_collision_fails_only_colliding_files(lamnet, tmp_path, tiny_model):
    for name in ("a.png", "a.jpg", "b.png", "c.png", "c_x2.png"):
        Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / name)
    inputs = [tmp_path / name for name in ("a.png", "a.jpg", "b.png", "c.png", "c_x2.png")]
    code, out, err = lamnet("upscale", *inputs, "-n", tiny_model, "--ext", "png")
    assert code == 1
    assert [Path(line.split(" → ")[0]).name for line in out.splitlines()] == ["b.png", "c_x2.png"]
    errors = err.splitlines()
    assert [Path(line.removeprefix("lamnet: error: ").split(":")[0]).name for line in errors] == [
        "a.png",
        "a.jpg",
        "c.png",
    ]
    assert all("suffix" in line for line in errors)


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_upscale_links(lamnet, tmp_path, tiny_model, nested_folder):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (elsewhere / "kept.png").write_bytes(b"mine")
    (out / "b").symlink_to(elsewhere)
    (out / "a_x2.png").symlink_to(elsewhere / "kept.png")
    code, _, stderr = lamnet("upscale", nested_folder, "-n", tiny_model, "-o", out, "--overwrite")
    assert code == 1
    assert "link" in stderr
    assert files(elsewhere) == ["kept.png"]
    assert (elsewhere / "kept.png").read_bytes() == b"mine"
    assert not (out / "a_x2.png").is_symlink()
    (nested_folder / "loop").symlink_to(nested_folder)  # not followed
    assert len(json.loads(lamnet("upscale", nested_folder, "-n", tiny_model, "-o", tmp_path / "new", "--json")[1])) == 4


def test_upscale_frames(lamnet, tmp_path, tiny_model):
    pages = [Image.fromarray(np.full((6, 8, 3), value, np.uint8)) for value in (10, 200)]
    for name in ("a.gif", "b.tif"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    code, _, err = lamnet("upscale", tmp_path / "*.*", "-n", tiny_model)
    assert (code, err.count("--frames")) == (1, 2)
    code, out, _ = lamnet("upscale", tmp_path / "*.*", "-n", tiny_model, "--frames", "--json")
    assert code == 0
    assert [row["frames"] for row in json.loads(out)] == [2, 2]
    for name in ("a_x2.gif", "b_x2.tif"):
        with Image.open(tmp_path / name) as image:
            assert (image.n_frames, image.size) == (2, (16, 12))
    code, _, err = lamnet("upscale", tmp_path / "a.gif", "-n", tiny_model, "--frames", "-o", tmp_path / "a.jpg")
    assert (code, "JPEG" in err) == (1, True)


def test_upscale_size_and_metadata(lamnet, tmp_path, tiny_model):
    exif = Image.Exif()
    exif[271] = "Camera"
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    for options, size, kept in (
        (["-s", "1.5"], (45, 30), True),
        (["--width", "50", "--metadata", "strip"], (50, 33), False),
    ):
        target = tmp_path / "b.png"
        assert lamnet("upscale", tmp_path / "a.jpg", "-n", tiny_model, "-o", target, "--overwrite", *options)[0] == 0
        picture = read_image(target)
        assert ((picture.width, picture.height), bool(picture.exif)) == (size, kept)
    code, _, err = lamnet("upscale", tmp_path / "a.jpg", "-n", tiny_model, "--width", "30")
    assert (code, "a.jpg" in err, "30x20" in err) == (1, True, True)
    code, _, err = lamnet("upscale", tmp_path / "a.jpg", "-n", tiny_model, "--max-pixels", "599")
    assert (code, "--max-pixels" in err) == (1, True)


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_upscale_signal_leaves_no_partial_files(tmp_path, tiny_model, number):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    for index in range(60):
        Image.fromarray(noise).save(folder / f"{index:02d}.png")
    command = [sys.executable, "-m", "lamnet_cli", "upscale", folder, "-n", tiny_model, "-o", out]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(list(out.glob("*.png"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    done = list(out.iterdir())
    assert 3 <= len(done) < 60
    for path in done:
        assert not path.name.startswith(".")
        assert read_image(path).pixels.shape == (600, 800, 3)
