"""Custom models: ``lamnet create --set`` and ``lamnet info``."""

import json

import pytest

from lamnet_models import load_model


def test_create_set_and_info(lamnet, tmp_path):
    file = tmp_path / "my.safetensors"
    settings = ("--set", "window.strides=1,2", "window.steps=3,3", "num_blocks=1", "depth=1")
    code, out, _ = lamnet("create", "lamnet_x2", *settings, "-o", file)
    assert code == 0
    assert "3,3 (published: 3,2,1)" in out
    assert load_model(file).window.size == 19
    base = json.loads(lamnet("info", file, "--json")[1])["base"]
    assert (base["model"], base["params"]) == ("lamnet_x2", 828_364)
    assert base["differences"]["window.steps"] == {"own": [3, 3], "base": [3, 2, 1]}
    assert "1,2 (base: 1,2,4)" in lamnet("info", file)[1]


@pytest.mark.parametrize("setting", ["num_heds=2", "num_heads=x", "num_heads=3", "num_heads"])
def test_create_invalid_setting(lamnet, tmp_path, setting):
    code, out, err = lamnet("create", "lamnet_x2", "--set", setting, "-o", tmp_path / "my.safetensors")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "num_heads" in err
    assert not list(tmp_path.iterdir())


def test_create_pretrained_with_other_in_chans(lamnet, tmp_path):
    file = tmp_path / "gray.safetensors"
    code, _, err = lamnet("create", "lamnet_x2", "in_chans=1", "--pretrained", "-o", file)
    assert (code, err.count("\n")) == (0, 1)
    assert "in_chans=1" in err
    assert load_model(file).in_chans == 1
