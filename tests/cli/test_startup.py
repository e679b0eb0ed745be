"""Modules loaded by commands."""

import json
import subprocess
import sys

import pytest
from PIL import Image

CODE = """
import json, sys
from lamnet_cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    print(json.dumps([end.code or 0, sorted(sys.modules)]))
"""


def run(*arguments, cwd=None):
    """Run a command in a new process; return exit code, standard error and the names of all loaded modules."""
    command = [sys.executable, "-c", CODE, *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd)
    assert process.returncode == 0, process.stderr
    code, modules = json.loads(process.stdout.splitlines()[-1])
    return code, process.stderr, set(modules)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["upscale", "--help"], ["train", "--help"], ["list"], ["list", "--json"]]
)
def test_help_and_list_load_no_torch(arguments):
    code, _, modules = run(*arguments)
    assert code == 0
    assert not {"torch", "numpy", "PIL", "timm"} & modules


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "--nonsense"], "--nonsense"),
        (["upscale", "a.png", "--precision", "fp8"], "fp8"),
        (["upscale", "a.png", "-n", "lamnt_x4"], "did you mean lamnet_x4?"),
        (["eval", "lamnt_x4"], "did you mean lamnet_x4?"),
        (["info", "lamnet_x4.nothing"], "lamnet_x4.photos310_v1"),
        (["create", "lamnt_x4"], "did you mean lamnet_x4?"),
        (["bench", "nope"], "baselines: swinir_light, omni_sr"),
        (["bench", "swinir"], "did you mean swinir_light?"),
        (["explain", "-n", "nope"], "swinir_light"),
        (["train", "quick", "stps=1"], "steps"),
    ],
)
def test_usage_errors_load_no_torch(arguments, message):
    code, err, modules = run(*arguments)
    assert code == 2
    assert message in err
    assert not {"torch", "numpy", "PIL", "timm"} & modules


@pytest.mark.parametrize(
    ("arguments", "note"),
    [
        (["info", "lamnet_x2"], "lamnet: loading PyTorch\n"),
        (["info", "lamnet_x2", "--json"], ""),
        (["list"], ""),
        (["app", "-n", "nothing.pth"], "lamnet: loading Gradio\n"),
        (["train", "quick", "--data", "nowhere"], "lamnet: loading PyTorch\n"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_long_imports_are_announced(arguments, note, tmp_path):
    if arguments[0] == "app":
        pytest.importorskip("gradio")
    _, err, _ = run(*arguments, cwd=tmp_path)
    notes = [line for line in err.splitlines(keepends=True) if "error" not in line]
    assert notes == [note] * bool(note)


def test_long_imports_are_announced_once_under_launcher(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    _, err, modules = run("info", "lamnet_x2")
    assert ("torch" in modules, err) == (True, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert", "{model}", "converted.pth"],
        ["info", "lamnet_x2"],
        ["upscale", "photo.png", "-n", "{model}"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands_load_no_timm(arguments, tiny_model, tmp_path):
    Image.new("RGB", (9, 8), "teal").save(tmp_path / "photo.png")
    code, err, modules = run(*(text.format(model=tiny_model) for text in arguments), cwd=tmp_path)
    assert code == 0, err
    assert "torch" in modules
    assert not {"timm", "torchvision", "accelerate", "matplotlib", "skimage"} & modules
