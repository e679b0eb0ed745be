"""``lamnet reproduce`` and ``lamnet explain``: what is written, what is refused, in one line."""

import json

import pytest
import torch

from lamnet_models import LAMNet, save_checkpoint


def assert_refused(result, code, *words):
    assert result[0] == code
    assert result[1] == ""
    assert result[2].count("\n") == 1
    for word in words:
        assert word in result[2]


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "small.safetensors"
    save_checkpoint(LAMNet(scale=2, channels=16, num_blocks=1, depth=2, heads=2), path)
    return path


def test_list(lamnet):
    code, out, _ = lamnet("reproduce", "--list")
    assert code == 0
    assert out.count("Reproduce ") == 10
    assert "--model --image --layer --group --pixel" in out


def test_tables_are_printed_and_written(lamnet, tmp_path):
    code, out, err = lamnet("reproduce", "table1", "-o", tmp_path / "out")
    assert code == 0
    assert "| LAMNet | both |  | 61.1K | 30.3K | 30K |" in out
    assert "table1.json" in err
    assert (tmp_path / "out" / "table1.md").read_text(encoding="utf-8") in out
    assert_refused(lamnet("reproduce", "table1", "-o", tmp_path / "out"), 2, "table1.md exists", "--overwrite")
    code, out, _ = lamnet("reproduce", "table1", "-o", tmp_path / "out", "--overwrite", "--json")
    assert json.loads(out)["item"] == "table1"


def test_figures(lamnet, model, tmp_path):
    arguments = ("--model", model, "--layer", 1, "--layer", 2, "-o", tmp_path / "out", "--json")
    facts = json.loads(lamnet("reproduce", "figure9", "figure10", *arguments)[1])
    assert [fact["item"] for fact in facts] == ["figure9", "figure10"]
    assert len(list((tmp_path / "out").iterdir())) == 8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("name an item", "figure10")),
        (("tabel3",), ("'tabel3'", "did you mean table3?")),
        (("table1", "--train", "5"), ("table1 takes no --train", "no options")),
        (("figure9", "--dataset", "set5"), ("figure9 takes no --dataset", "--layer --group --pixel")),
        (("figure9", "--model", "a", "--model", "b"), ("figure9 takes one --model",)),
        (("figure9", "--layer", "99"), ("layers", "99", "1 to 24")),
        (("figure9", "--pixel", "3"), ("--pixel is '3'", "X,Y")),
        (("table4", "--train", "soon"), ("train", "'soon'", "10m")),
        (("table4", "--variant", "none"), ("variants", "'none'", "IEM → None")),
        (("table3", "--weights", "swinir.pth"), ("--weights is 'swinir.pth'", "NAME=FILE")),
        (("figure5", "--detail", "baby"), ("--detail is 'baby'",)),
        (("figure8", "--side", "4"), ("side",)),
    ],
)
def test_wrong_usage_is_one_line(lamnet, tmp_path, arguments, words):
    assert_refused(lamnet("reproduce", *arguments, "-o", tmp_path / "out"), 2, *words)
    assert not (tmp_path / "out").exists()


def test_an_item_that_fails_does_not_stop_the_others(lamnet, tmp_path):
    code, out, err = lamnet("reproduce", "figure7", "table1", "--run", tmp_path / "no", "-o", tmp_path / "out")
    assert (code, out) == (2, "")  # table1 takes no runs
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
    assert network["model"] == "small.safetensors"
    assert 0 <= network["diffusion_index"] <= 100
    assert picture.stat().st_size > 1000
    assert_refused(lamnet("explain", "coffee", "-o", picture), 2, "exists")
    other = ("-o", tmp_path / "other.png")
    assert_refused(lamnet("explain", tmp_path / "no.png", "-n", model, *other), 1, "no such file")
    assert_refused(lamnet("explain", "coffee", "-n", "lamnt_x4", *other), 2, "did you mean lamnet_x4?")
    assert_refused(lamnet("explain", "coffee", "-n", model, "--at", "9000,1", *other), 2, "got 9000,1")
    assert_refused(lamnet("explain", "coffee", "--at", "here", *other), 2, "--at is 'here'")
    assert_refused(lamnet("explain", "coffee", "-o", tmp_path / "x.txt"), 2, ".png, .svg or .pdf")
