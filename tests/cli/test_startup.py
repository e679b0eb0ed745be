"""Modules loaded by commands."""

import json
import subprocess
import sys

import pytest
from PIL import Image

CODE = """
import json, sys
from lamnet_cli.main import main
codes = []
for command in json.loads(sys.argv[1]):
    try:
        main(command)
    except SystemExit as end:
        codes.append(end.code or 0)
print(json.dumps([codes, sorted(sys.modules)]))
"""


def run(*commands, cwd):
    """Run commands in a new process; return exit codes, standard error and the names of all loaded modules."""
    process = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(commands)], capture_output=True, text=True, timeout=300, cwd=cwd
    )
    assert process.returncode == 0, process.stderr
    codes, modules = json.loads(process.stdout.splitlines()[-1])
    return codes, process.stderr, set(modules)


def test_help_and_list_load_no_torch(tmp_path):
    commands = [["--help"], ["--version"], ["upscale", "--help"], ["train", "--help"], ["list"], ["list", "--json"]]
    codes, err, modules = run(*commands, cwd=tmp_path)
    assert (codes, err) == ([0] * 6, "")
    assert not {"torch", "numpy", "PIL", "timm"} & modules


USAGE_ERRORS = [
    (["list", "--nonsense"], "--nonsense"),
    (["upscale", "a.png", "--precision", "fp8"], "fp8"),
    (["upscale", "a.png", "-n", "lamnt_x4"], "did you mean lamnet_x4?"),
    (["upscale", "a.png", "-n", "a.pth", "--weights", "photo"], "a.pth"),
    (["upscale", "a.png", "-n", "lamnet_x4.clean", "--strength", "0.5"], "lamnet_x4.clean"),
    (["eval", "lamnt_x4"], "did you mean lamnet_x4?"),
    (["info", "lamnet_x4.nothing"], "lamnet_x4.clean_v"),
    (["create", "lamnt_x4"], "did you mean lamnet_x4?"),
    (["bench", "nope"], "baselines: swinir_light, omni_sr"),
    (["bench", "swinir"], "did you mean swinir_light?"),
    (["explain", "-n", "nope"], "swinir_light"),
    (["train", "quick", "stps=1"], "steps"),
]


def test_usage_errors_load_no_torch(tmp_path):
    codes, err, modules = run(*(command for command, _ in USAGE_ERRORS), cwd=tmp_path)
    assert codes == [2] * len(USAGE_ERRORS)
    for line, (_, message) in zip(err.splitlines(), USAGE_ERRORS, strict=True):
        assert message in line
    assert not {"torch", "numpy", "PIL", "timm"} & modules


@pytest.mark.parametrize(
    ("arguments", "rank", "note"),
    [
        (["info", "lamnet_x2"], "0", "lamnet: loading PyTorch\n"),
        (["info", "lamnet_x2", "--json"], "0", ""),
        (["info", "lamnet_x2"], "1", ""),
        (["train", "quick", "--data", "nowhere"], "0", "lamnet: loading PyTorch\n"),
        (["app"], "0", "lamnet: loading Gradio\n"),
    ],
    ids=["info", "json", "second process", "train", "app"],
)
def test_long_imports_are_announced_once(arguments, rank, note, monkeypatch, tmp_path):
    # In place of the packages:
    (tmp_path / "torch.py").write_text("raise SystemExit('import')")
    (tmp_path / "gradio.py").write_text("import torch")
    monkeypatch.setenv("RANK", rank)
    codes, err, _ = run(arguments, cwd=tmp_path)
    assert (codes, err) == (["import"], note)


def test_commands_load_no_timm(tiny_model, tmp_path):
    Image.new("RGB", (9, 8), "teal").save(tmp_path / "photo.png")
    model = str(tiny_model)
    commands = [["convert", model, "converted.pth"], ["info", "lamnet_x2"], ["upscale", "photo.png", "-n", model]]
    codes, err, modules = run(*commands, cwd=tmp_path)
    assert codes == [0] * 3, err
    assert "torch" in modules
    assert not {"timm", "torchvision", "accelerate", "matplotlib", "skimage"} & modules
