"""Custom models by name: ``lamnet create --set`` and what ``lamnet info`` says of them."""

import json

import pytest

from lamnet_models import load_model


def test_create_and_info_by_command(lamnet, tmp_path):
    file = tmp_path / "my.safetensors"
    settings = ("--set", "window.strides=1,2", "window.steps=3,3")
    code, out, _ = lamnet("create", "lamnet_x2", *settings, "-o", file)
    assert code == 0
    assert "3,3 (published: 3,2,1)" in out
    assert load_model(file).window.size == 19
    base = json.loads(lamnet("info", file, "--json")[1])["base"]
    assert (base["model"], base["params"]) == ("lamnet_x2", 828_364)
    assert base["differences"]["window.steps"] == {"own": [3, 3], "base": [3, 2, 1]}
    assert "1,2 (base: 1,2,4)" in lamnet("info", file)[1]
    assert "base" not in lamnet("info", "lamnet_x2")[1]


@pytest.mark.parametrize("wrong", ["heds=2", "heads=x", "heads=3", "heads"])
def test_create_refuses_wrong_settings_in_one_line(lamnet, tmp_path, wrong):
    code, out, err = lamnet("create", "lamnet_x2", "--set", wrong, "-o", tmp_path / "my.safetensors")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "heads" in err
    assert not list(tmp_path.iterdir())
