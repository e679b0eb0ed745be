import csv
import io
import json
import re

import numpy as np
import pytest
from PIL import Image


def test_eval_summary_line(lamnet, build_dataset):
    root = build_dataset("EDSR", "B100")
    code, out, err = lamnet("eval", "bicubic", "-d", "BSD100", "-s", "2", "--data", root)
    assert (code, err) == (0, "")
    assert out.startswith("bsd100 ×2 bicubic: ")
    assert re.search(r"\bY\b.*\b2 border pixels.*standard", out.splitlines()[-1])


def test_eval_defaults(lamnet, build_dataset):
    root = build_dataset("SelfExSR", scale=4)
    code, out, _ = lamnet("eval", "--data", root, "--limit", "1")
    assert code == 0
    assert "set5 ×4 lamnet_x4: " in out
    assert "32.51 dB, 0.8983" in out


def test_eval_output_formats(lamnet, build_dataset):
    root = build_dataset()
    arguments = ("eval", "bicubic", "-d", "set5,sample", "-s", "2", "--data", root)
    _, out, _ = lamnet(*arguments, "--per-image")
    assert [line.split()[0] for line in out.splitlines()][:5] == ["image", "img_000", "img_001", "img_002", "set5"]
    _, out, _ = lamnet(*arguments, "--json")
    results = json.loads(out)
    assert [result["dataset"] for result in results] == ["set5", "sample"]
    _, out, _ = lamnet(*arguments, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 7
    assert float(rows[0]["psnr"]) == results[0]["images"][0]["psnr"]


def test_eval_save_images(lamnet, build_dataset, tmp_path):
    root = build_dataset()
    code, _, _ = lamnet("eval", "bicubic", "-s", "2", "--data", root, "--save-images", tmp_path / "out")
    assert code == 0
    folder = tmp_path / "out" / "set5_x2" / "bicubic"
    assert sorted(p.name for p in folder.iterdir()) == ["img_000.png", "img_001.png", "img_002.png", "worst.png"]
    assert Image.open(folder / "img_000.png").size == (64, 52)


def test_eval_save_images_with_dots(lamnet, build_dataset, tmp_path):
    root = build_dataset("folder")
    for index in range(3):
        (root / f"Set5/img_00{index}.png").rename(root / f"Set5/at 10.30.{index}.png")
    assert lamnet("eval", "bicubic", "-d", root / "Set5", "--save-images", tmp_path / "out")[0] == 0
    names = sorted(path.name for path in (tmp_path / "out").rglob("at*"))
    assert names == ["at 10.30.0.png", "at 10.30.1.png", "at 10.30.2.png"]


def test_eval_broken_image(lamnet, build_dataset):
    root = build_dataset()
    (root / "Set5/GTmod12/img_001.png").write_bytes(b"broken")
    code, out, err = lamnet("eval", "bicubic", "-s", "2", "--data", root)
    assert code == 1
    assert re.search(r"\b2 images, 1\b", out)
    assert len(err.splitlines()) == 1
    assert "img_001.png" in err


@pytest.mark.parametrize(
    ("arguments", "code", "match"),
    [
        (("--dataset", "urban100"), 1, "lamnet data fetch urban100"),
        (("--dataset", "manga109"), 1, "apply at"),
        (("--dataset", "urbn100"), 1, "did you mean urban100?"),
        (("--dataset", ","), 2, "--dataset"),
        (("lamnet_x4", "--scale", "2"), 2, "scale"),
        (("lamnet_x5",), 2, "did you mean"),
        (("nothing.pth",), 1, "no such file"),
        (("--tile", "small"), 2, "--tile"),
        (("--json", "--csv"), 2, "--json and --csv"),
        (("--save-images", __file__), 2, "--save-images"),
        (("bicubic", "--dataset", "sample", "--degrade", "jpg=75"), 2, "jpeg=75"),
        (("bicubic", "--self-ensemble"), 2, "self_ensemble"),
    ],
)
def test_eval_wrong_usage(lamnet, tmp_path, arguments, code, match):
    result, out, err = lamnet("eval", "--data", tmp_path, *arguments)
    assert (result, out, len(err.splitlines())) == (code, "", 1)
    assert match in err


def test_compare_table_and_image(lamnet, build_dataset, tmp_path):
    root = build_dataset(scale=4, layout="HAT")
    target = tmp_path / "compared.png"
    arguments = ("compare", "bicubic", "lamnet_x4", "--data", root, "-o", target, "--limit", "2", "--side", "16")
    code, out, err = lamnet(*arguments)
    assert (code, err) == (0, "")
    assert "bicubic" in out
    assert np.asarray(Image.open(target)).std() > 10
    assert lamnet(*arguments)[0] == 2  # the output exists
    code, out, _ = lamnet(*arguments, "--overwrite", "--json", "--detail", "img_001:0,4,20,30")
    result = json.loads(out)
    assert result["details"] == [{"image": "img_001", "box": {"left": 0, "top": 4, "width": 20, "height": 30}}]
    assert [e["model"] for e in result["evaluations"]] == ["bicubic", "lamnet_x4"]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("--detail", "img_001"), "IMAGE:LEFT,TOP,WIDTH,HEIGHT"),
        (("--detail", "img_001:0,0,0,5"), "IMAGE:LEFT,TOP,WIDTH,HEIGHT"),
        (("-o", "picture.gif"), "--output must end in one of"),
        (("--scale", "3"), "scale"),
        (("--dataset", "sample", "--degrade", "noise=-1"), "noise"),
    ],
)
def test_compare_wrong_usage(lamnet, tmp_path, monkeypatch, arguments, match):
    monkeypatch.chdir(tmp_path)
    code, out, err = lamnet("compare", "lamnet_x4", *arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert match in err


def test_data_list_and_verify(lamnet, build_dataset):
    root = build_dataset("EDSR", "Urban100", count=3)
    code, out, _ = lamnet("data", "list", "--data", root, "--json")
    datasets = {row["name"]: row for row in json.loads(out)}
    assert datasets["urban100"]["layout"] == "EDSR"
    assert datasets["set5"]["folder"] is None
    assert "lamnet data fetch set5" in datasets["set5"]["get"]
    assert "not found" in lamnet("data", "list", "--data", root)[1]
    code, out, err = lamnet("data", "verify", "urban100", "--data", root)
    assert code == 1
    assert re.search(r"\b100 images, got 3\b", err)
    assert lamnet("data", "verify", "--data", root / "nowhere")[0] == 0
    code, out, err = lamnet("data", "verify", "set5", "sample", "--data", root)
    assert code == 1
    assert "sample: ok" in out
    assert "set5 ×2" in err


def test_data_fetch_errors(lamnet, tmp_path):
    code, out, err = lamnet("data", "fetch", "manga109", "sample", "--data", tmp_path)
    assert code == 1
    assert out.startswith("sample: ")
    assert "apply at" in err
    assert len(err.splitlines()) == 1


def test_eval_fetch(lamnet, tmp_path):
    code, _, err = lamnet("eval", "bicubic", "-d", "manga109", "--fetch", "--data", tmp_path)
    assert code == 1
    assert "apply at" in err
