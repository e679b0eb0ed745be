"""``lamnet reproduce`` and ``lamnet explain``: files written and errors."""

import json
import re

import pytest
import torch

from lamnet_models import LAMNet, save_checkpoint


def assert_error(result, code, *values):
    assert result[0] == code
    assert result[1] == ""
    assert result[2].count("\n") == 1
    for value in values:
        assert value in result[2]


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "small.safetensors"
    save_checkpoint(LAMNet(scale=2, embed_dim=16, num_blocks=1, depth=2, num_heads=2), path)
    return path


def test_reproduce_list(lamnet):
    code, out, _ = lamnet("reproduce", "--list")
    assert code == 0
    assert len(re.findall(r"^(?:table|figure)\d+ ", out, re.MULTILINE)) == 10
    assert "--model --image --layer --group --pixel" in out


def test_reproduce_table(lamnet, tmp_path):
    code, out, err = lamnet("reproduce", "table1", "-o", tmp_path / "out")
    assert code == 0
    assert "| LAMNet | both |  | 61.1K | 30.3K | 30K |" in out
    assert "table1.json" in err
    assert (tmp_path / "out" / "table1.md").read_text(encoding="utf-8") in out
    assert_error(lamnet("reproduce", "table1", "-o", tmp_path / "out"), 2, "table1.md exists", "--overwrite")
    code, out, _ = lamnet("reproduce", "table1", "-o", tmp_path / "out", "--overwrite", "--json")
    assert json.loads(out)["item"] == "table1"


def test_reproduce_figures(lamnet, model, tmp_path):
    arguments = ("--model", model, "--layer", 1, "--layer", 2, "-o", tmp_path / "out", "--json")
    results = json.loads(lamnet("reproduce", "figure9", "figure10", *arguments)[1])
    assert [result["item"] for result in results] == ["figure9", "figure10"]
    assert len(list((tmp_path / "out").iterdir())) == 8


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ((), ("ITEM", "figure10")),
        (("tabel3",), ("'tabel3'", "did you mean table3?")),
        (("table1", "--train", "5"), ("--train", "table1")),
        (("figure9", "--dataset", "set5"), ("--dataset", "figure9", "--layer --group --pixel")),
        (("figure9", "--model", "a", "--model", "b"), ("--model", "figure9")),
        (("figure9", "--layer", "99"), ("layers", "99", "24")),
        (("figure9", "--pixel", "3"), ("--pixel", "'3'", "X,Y")),
        (("table4", "--train", "soon"), ("train", "'soon'", "10m")),
        (("table4", "--variant", "none"), ("variants", "'none'", "IEM → None")),
        (("table3", "--weights", "swinir.pth"), ("--weights", "'swinir.pth'", "NAME=FILE")),
        (("figure5", "--detail", "baby"), ("--detail", "'baby'")),
        (("figure8", "--side", "4"), ("side",)),
        (("figure5", "--scale", "8"), ("scale", "2, 3, 4", "8")),
        (("table3", "--scale", "2", "--scale", "8"), ("scale", "2, 3, 4", "8")),
    ],
)
def test_reproduce_wrong_usage(lamnet, tmp_path, arguments, values):
    assert_error(lamnet("reproduce", *arguments, "-o", tmp_path / "out"), 2, *values)
    assert not (tmp_path / "out").exists()


def test_reproduce_failed_item(lamnet, tmp_path):
    code, out, err = lamnet("reproduce", "figure7", "table1", "--run", tmp_path / "no", "-o", tmp_path / "out")
    assert (code, out) == (2, "")  # table1 does not support --run
    code, out, err = lamnet("reproduce", "figure7", "figure10", "--image", "no.png", "-o", tmp_path / "out")
    assert code == 2
    code, out, err = lamnet("reproduce", "figure9", "figure10", "--image", "no.png", "-o", tmp_path / "out")
    assert code == 1
    assert err.count("no.png: no such file") == 2


def test_explain(lamnet, model, tmp_path):
    picture = tmp_path / "explained.png"
    small = ("--side", 24, "--steps", 1, "--samples", 1)
    code, out, _ = lamnet("explain", "coffee", "-n", model, *small, "-o", picture, "--json")
    assert code == 0
    (network,) = json.loads(out)["networks"]
    assert network["model"] == f"{model.parent.name}/small.safetensors"
    assert 0 <= network["diffusion_index"] <= 100
    assert picture.stat().st_size > 1000
    assert_error(lamnet("explain", "coffee", "-o", picture), 2, "exists")
    other = ("-o", tmp_path / "other.png")
    assert_error(lamnet("explain", tmp_path / "no.png", "-n", model, *other), 1, "no such file")
    assert_error(lamnet("explain", "coffee", "-n", "lamnt_x4", *other), 2, "did you mean lamnet_x4?")
    assert_error(lamnet("explain", "coffee", "-n", model, "--at", "9000,1", *other), 2, "9000,1")
    assert_error(lamnet("explain", "coffee", "--at", "here", *other), 2, "--at", "'here'")
    assert_error(lamnet("explain", "coffee", "-o", tmp_path / "x.txt"), 2, ".png, .svg or .pdf")
