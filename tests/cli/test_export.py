import json

import numpy as np
import pytest
import torch
from PIL import Image

from lamnet_models import LAMNet, save_checkpoint

pytest.importorskip("onnxruntime", reason="needs the extra onnx")


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    save_checkpoint(LAMNet(scale=2, embed_dim=16, num_blocks=1, depth=1), tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def assert_one_line_error(result, code, *values):
    assert result[0] == code
    (line,) = result[2].splitlines()
    assert line.startswith("lamnet: error: ")
    for value in values:
        assert value in line


def test_export_difference(lamnet, tmp_path, file):
    code, out, err = lamnet("export", file, "-o", tmp_path / "a.onnx")
    assert (code, err) == (0, "")
    assert out.count("difference at") == 3
    assert "tolerance 1e-04" in out
    report = json.loads(lamnet("export", file, "-o", tmp_path / "b.onnx", "--half", "--json")[1])
    assert (report["format"], report["half"]) == ("onnx", True)
    assert report["difference"] == max(report["differences"].values()) <= report["tolerance"]
    assert report["bytes"] == (tmp_path / "b.onnx").stat().st_size


def test_export_difference_above_tolerance(lamnet, tmp_path, file, monkeypatch):
    monkeypatch.setattr("lamnet_models.exporting.exporter.TOLERANCES", {False: 0.0})
    assert_one_line_error(lamnet("export", file, "-o", tmp_path / "a.onnx"), 1, "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


def test_export_wrong_usage(lamnet, tmp_path, file):
    assert_one_line_error(lamnet("export", file, "-o", tmp_path / "a.bin"), 2, ".onnx or .pt2")
    assert_one_line_error(lamnet("export", file, "-o", tmp_path / "a.pt2", "--format", "onnx"), 2, ".onnx")
    assert_one_line_error(lamnet("export", "lamnt_x4", "-o", tmp_path / "a.onnx"), 2, "did you mean lamnet_x4?")
    assert_one_line_error(lamnet("export", tmp_path / "none.pth", "-o", tmp_path / "a.onnx"), 1, "no such file")
    assert_one_line_error(lamnet("export", file, "-o", file), 2, "--overwrite")
    result = lamnet("export", file, "-o", tmp_path / "a.onnx", "--device", "cuda")
    assert_one_line_error(result, 2, "onnx, which runs on any device")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_export_unavailable_device(lamnet, tmp_path, file):
    result = lamnet("export", file, "-o", tmp_path / "a.pt2", "--format", "aoti", "--device", "cuda")
    assert_one_line_error(result, 2, "device must be cpu on this machine, got 'cuda'")


def test_upscale_onnxruntime(lamnet, tmp_path, file, photo):
    lamnet("export", file, "-o", tmp_path / "a.onnx")
    options = {
        "torch": ["-n", file],
        "ort": ["-n", file, "--backend", "onnxruntime"],
        "file": ["-n", tmp_path / "a.onnx"],
    }
    results = {}
    for name, arguments in options.items():
        assert lamnet("upscale", photo, *arguments, "-o", tmp_path / f"{name}.png")[0] == 0
        results[name] = np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int)
    assert results["torch"].shape == (18, 24, 4)
    for name in ("ort", "file"):
        assert abs(results[name] - results["torch"]).max() <= 1


@pytest.mark.parametrize("option", [["--device", "cuda"], ["--precision", "fp16"], ["--compile"]])
def test_upscale_onnxruntime_unsupported_option(lamnet, file, photo, option):
    assert_one_line_error(lamnet("upscale", photo, "-n", file, "--backend", "onnxruntime", *option), 2, "ONNX Runtime")


def test_upscale_onnxruntime_missing(lamnet, file, photo, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    result = lamnet("upscale", photo, "-n", file, "--backend", "onnxruntime")
    assert_one_line_error(result, 1, "pip install 'lamnet[onnx]'")


def test_bench_modes_of_one_model(lamnet, file):
    code, out, _ = lamnet("bench", file, "--mode", "eager,onnxruntime", "--size", "9x8", "--rounds", "2", "--json")
    assert code == 0
    rows = json.loads(out)
    assert rows[0]["ratio"] == 1
    assert rows[1]["ratio"] == pytest.approx(np.median(np.divide(rows[1]["seconds"], rows[0]["seconds"])))


def test_push_missing_argument(lamnet, file):
    assert_one_line_error(lamnet("push", file, "someone/mine"), 2, "license")
    assert_one_line_error(lamnet("push", "none.pth", "someone/mine"), 1, "no such file")
