import json
import os
import re
import subprocess
import sys
from importlib import metadata

import pytest
import torch
from lamnet_cli.main import app
from PIL import Image
from torch._inductor import config as inductor
from typer.main import get_command

import lamnet_layers
import lamnet_models
from lamnet_layers import available_backends
from lamnet_models.checkpoint import read_checkpoint
from lamnet_models.names import PURPOSES, VARIANTS, list_models, packaged_weights
from lamnet_models.pretrained import find_weights

COMMANDS = [command.name for command in app.registered_commands]


def assert_one_line_error(result, code, *values):
    assert result[0] == code
    lines = result[2].splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("lamnet: error: ")
    for value in values:
        assert value in lines[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_example(lamnet, command):
    code, out, _ = lamnet(command, "--help")
    assert code == 0
    assert f"Example: lamnet {command}" in out


def all_commands(command, path=()):
    yield path, command
    for name, subcommand in getattr(command, "commands", {}).items():
        yield from all_commands(subcommand, (*path, name))


@pytest.mark.parametrize("width", [40, 79, 80])
def test_help_keeps_option_names_whole(lamnet, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    for path, command in all_commands(get_command(app)):
        _, out, _ = lamnet(*path, "--help")
        words = set(re.split(r"[\s,│]+", out))
        names = [name for param in command.params for name in (*param.opts, *param.secondary_opts)]
        assert {name for name in names if name.startswith("-")} <= words, path
        assert max(map(len, out.splitlines())) <= width, path


def test_tables_keep_model_names_whole(lamnet, monkeypatch):
    names = [*VARIANTS, *packaged_weights()]
    for width in ("40", "60", None):
        if width:
            monkeypatch.setenv("COLUMNS", width)
        else:
            monkeypatch.delenv("COLUMNS")
        assert set(names) <= set(re.split(r"[\s,]+", lamnet("list")[1]))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudoterminal")
def test_errors_keep_names_whole_in_terminal():
    import pty

    master, terminal = pty.openpty()
    command = [sys.executable, "-m", "lamnet_cli", "info", "lamnet_large_x5.clean_v1"]
    process = subprocess.run(command, stderr=terminal, env=os.environ | {"COLUMNS": "40"}, timeout=60)
    os.close(terminal)
    lines = os.read(master, 10_000).decode().splitlines()
    os.close(master)
    assert process.returncode == 2
    assert len(lines) > 1
    assert max(map(len, lines)) <= 40
    assert any("'lamnet_large_x5'" in line for line in lines)
    assert any("lamnet_large_x4?" in line for line in lines)


def test_version(lamnet):
    code, out, _ = lamnet("--version")
    assert code == 0
    assert out.startswith("lamnet 0.")


def test_near_miss_hint(lamnet):
    assert_one_line_error(lamnet("upscle"), 2, "'upscale'")
    assert_one_line_error(lamnet("create", "lamnt_x4"), 2, "did you mean lamnet_x4?")


def test_no_arguments_prints_help(lamnet):
    code, out, err = lamnet()
    assert code == 2
    assert "upscale" in out + err
    assert "error" not in err


def test_wrong_usage(lamnet):
    assert_one_line_error(lamnet("list", "--nonsense"), 2, "--nonsense", "lamnet list --help")
    assert_one_line_error(lamnet("create"), 2)


def test_list(lamnet):
    code, out, _ = lamnet("list")
    assert code == 0
    assert "849,136" in out
    rows = json.loads(lamnet("list", "*_x4", "--pretrained", "--json")[1])
    assert [row["name"] for row in rows] == ["lamnet_x4", "lamnet_large_x4"]
    assert [row["weights"] for row in rows] == [list_models(row["name"], pretrained=True) for row in rows]
    assert all(row["weights"][0].startswith(f"{row['name']}.clean_v") for row in rows)


def test_list_details(lamnet):
    code, out, _ = lamnet("list", "lamnet_x2", "--details")
    assert code == 0
    name = find_weights("lamnet_x2").stem
    assert re.search(rf"{re.escape(name)} +clean +828 K +185 G +1\.\d MB", out)
    entry = json.loads(lamnet("list", "lamnet_x2", "--details", "--json")[1])[0]
    assert (entry["name"], entry["purpose"], entry["scale"], entry["license"]) == (name, "clean", 2, "Apache-2.0")
    assert entry["scores"] == read_checkpoint(find_weights("lamnet_x2")).training.get("scores", {})
    assert {entry["name"] for entry in json.loads(lamnet("list", "--details", "--json")[1])} == set(packaged_weights())


@pytest.mark.parametrize("options", [[], ["--details"]], ids=["short", "details"])
def test_list_purposes(lamnet, photo_weights, options):
    code, out, _ = lamnet("list", "*_x4", *options)
    assert code == 0
    assert "lamnet_x4.photo_v10" in out
    lines = [f"{purpose}: for {text}." for purpose, text in PURPOSES.items()]
    assert out.splitlines()[-2:] == lines
    code, out, _ = lamnet("list", "lamnet_x3", *options)
    assert [line in out for line in lines] == [True, False]


@pytest.mark.parametrize("command", ["create", "eval"])
def test_commands_accept_purpose(lamnet, photo_weights, build_dataset, command):
    root = build_dataset("folder", scale=4, count=1)
    options = ["--pretrained"] if command == "create" else ["--dataset", root / "Set5"]
    report = json.loads(lamnet(command, "lamnet_x4.photo", *options, "--json")[1])
    weights = (report if command == "create" else report[0])["weights"]
    assert weights.endswith("lamnet_x4.photo_v10.safetensors")
    assert_one_line_error(lamnet(command, "lamnet_x3.photo", *options), 2, "lamnet_x3.photo")


def test_info_model_name(lamnet):
    report = json.loads(lamnet("info", "lamnet_large_x2", "--size", "1920x1080", "--json")[1])
    assert report["params"] == 1_024_028
    assert report["input_size"] == [1920, 1080]
    assert report["operations"] > report["macs"]
    assert_one_line_error(lamnet("info", "lamnet_x2", "--size", "12"), 2, "WIDTHxHEIGHT")


def test_info_checkpoint_training(lamnet):
    path = find_weights("lamnet_x4")
    code, out, _ = lamnet("info", path)
    assert code == 0
    assert str(read_checkpoint(path).training["step"]) in out.replace(",", "")
    assert "base model" not in out  # it is a published one


def test_create_pretrained_checkpoint(lamnet, tmp_path):
    file = tmp_path / "x4.safetensors"
    code, out, _ = lamnet("create", "lamnet_x4", "--pretrained", "-o", file, "--json")
    assert code == 0
    assert json.loads(out)["params"] == 849_136
    image = torch.rand(1, 3, 8, 9)
    expected = lamnet_models.create_model("lamnet_x4", pretrained=True)(image)
    assert torch.equal(lamnet_models.load_model(file)(image), expected)


def test_create_format_by_extension(lamnet, tmp_path):
    assert lamnet("create", "lamnet_x3", "-o", tmp_path / "x3.pth")[0] == 0
    assert "alpha" in torch.load(tmp_path / "x3.pth", weights_only=True)["params_ema"]


def test_create_existing_output(lamnet, tmp_path):
    file = tmp_path / "mine.safetensors"
    file.write_bytes(b"mine")
    assert_one_line_error(lamnet("create", "lamnet_x2", "-o", file), 2, "--overwrite")
    assert file.read_bytes() == b"mine"
    assert lamnet("create", "lamnet_x2", "-o", file, "--overwrite")[0] == 0
    assert lamnet_models.load_model(file).scale == 2


def test_create_unknown_weights(lamnet):
    assert_one_line_error(lamnet("create", "lamnet_x2.none", "--pretrained"), 2, find_weights("lamnet_x2").stem)


def test_missing_output_folders_are_created(lamnet, tmp_path, tiny_model):
    created, converted = tmp_path / "a/b/x.safetensors", tmp_path / "c/d/x.pth"
    assert lamnet("create", "lamnet_x2", "-o", created)[0] == 0
    assert lamnet("convert", tiny_model, converted)[0] == 0
    assert created.is_file()
    assert converted.is_file()
    for command in (("create", "lamnet_x2", "-o"), ("convert", tiny_model), ("demo", "-o"), ("plot", tmp_path, "-o")):
        result = lamnet(*command, created / "x.pth")
        assert_one_line_error(result, 2, "x.safetensors is a file")


def test_existing_output_of_demo_is_kept(lamnet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture = tmp_path / "lamnet_demo_coffee.png"
    picture.write_bytes(b"mine")
    assert_one_line_error(lamnet("demo", "coffee"), 2, picture.name, "--overwrite")
    assert picture.read_bytes() == b"mine"
    assert_one_line_error(lamnet("demo", "-o", "x.txt"), 2, ".png")


@pytest.mark.parametrize("command", ["create", "convert"])
@pytest.mark.parametrize("name", ["x.txt", "x"])
def test_unknown_extension_of_checkpoint(lamnet, tmp_path, tiny_model, command, name):
    arguments = ("lamnet_x2", "-o") if command == "create" else (tiny_model,)
    assert_one_line_error(lamnet(command, *arguments, tmp_path / name), 2, ".safetensors", name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["t.onnx", "t.pt2"])
def test_info_exported_model(lamnet, tmp_path, name):
    (tmp_path / name).write_bytes(b"exported")
    assert_one_line_error(lamnet("info", tmp_path / name), 1, name, ".safetensors, .pth", "exported")


def test_fp32_conflicts_with_other_precision(lamnet, tmp_path):
    result = lamnet("upscale", tmp_path / "a.png", "--fp32", "--precision", "bf16")
    assert_one_line_error(result, 2, "--fp32", "--precision bf16")


def test_convert_round_trip(lamnet, tmp_path):
    model = lamnet_models.LAMNet(scale=2, embed_dim=16, num_blocks=1, depth=2)
    native, original, restored = (tmp_path / name for name in ("a.safetensors", "b.pth", "c.safetensors"))
    lamnet_models.save_checkpoint(model, native)
    assert lamnet("convert", native, original)[0] == 0
    assert "params_ema" in torch.load(original, weights_only=True)
    assert lamnet("convert", original, restored)[0] == 0
    state = lamnet_models.load_model(restored).state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())


def test_convert_invalid_checkpoint(lamnet, tmp_path):
    bad, out = tmp_path / "bad.pth", tmp_path / "out.safetensors"
    bad.write_bytes(b"no checkpoint")
    assert_one_line_error(lamnet("convert", bad, out), 1, str(bad))
    assert_one_line_error(lamnet("convert", tmp_path / "none.pth", out), 1, "no such file")
    assert not out.exists()


def test_env(lamnet):
    report = json.loads(lamnet("env", "--json")[1])
    assert report["torch"] == torch.__version__.partition("+")[0]
    backend = "native" if "native" in available_backends("cpu") else "eager"
    assert report["backend"] in (f"{backend} on cpu", "triton on cuda")
    assert report["native kernels"].startswith("available" if backend == "native" else "unavailable: ")
    assert report["fused kernels"].startswith("off")
    assert "LAMNET_BACKEND=fused" in report["fused kernels"]
    assert report["lamnet_layers"].startswith(lamnet_layers.__version__)


@pytest.mark.parametrize("owners", [["lamnet"], ["lamnet", "lamnet-layers"]], ids=len)
def test_env_shows_owners_of_layers(lamnet, monkeypatch, owners):
    monkeypatch.setattr(metadata, "packages_distributions", lambda: {"lamnet_layers": owners[::-1]})
    report = json.loads(lamnet("env", "--json")[1])
    assert " and ".join(owners) in report["lamnet_layers"]
    assert ("uninstall both" in report["lamnet_layers"]) == (len(owners) == 2)


def test_missing_layers(lamnet, monkeypatch):
    monkeypatch.setitem(sys.modules, "lamnet_layers", None)
    assert_one_line_error(lamnet("env"), 1, f"lamnet-layers=={metadata.version('lamnet')}")


def test_bench_ratio_to_baseline(lamnet, tmp_path):
    chart = tmp_path / "chart.svg"
    code, out, _ = lamnet("bench", "lamnet_x4", "safmn", "--size", "16x12", "--rounds", "2", "--chart", chart, "--json")
    assert code == 0
    reference, baseline = json.loads(out)
    assert reference["ratio"] == 1
    assert reference["difference"] < 1e-5  # not 0 without the CPU kernels
    assert baseline["ratio"] == pytest.approx(
        sum(a / b for a, b in zip(baseline["seconds"], reference["seconds"], strict=True)) / 2, rel=1e-6
    )
    assert "</svg>" in chart.read_text(encoding="utf-8")
    code, out, _ = lamnet("bench", "safmn", "--train", "1x16", "--rounds", "1")
    assert code == 0
    assert "1.000" in out


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--mode", "fast"], "eager, compiled"),
        (["--size", "large"], "WIDTHxHEIGHT"),
        (["--baseline", "swinir"], "--baseline"),
        (["nothing.pth"], "nothing.pth"),
    ],
)
def test_bench_invalid_arguments(lamnet, arguments, match):
    code, _, err = lamnet("bench", "lamnet_x4", *arguments)
    assert code in (1, 2)
    assert match in err


@pytest.mark.parametrize(
    ("compiler", "match"),
    {
        None: "compiler",
        "echo 'internal error: no license' >&2; exit 1": "internal error: no license",
        "exit 3": "code 3",
    }.items(),
)
@pytest.mark.parametrize(
    "arguments", [["upscale", "a.png", "--compile"], ["export", "lamnet_x4", "--format", "aoti", "-o", "a.pt2"]]
)
def test_compile_without_working_compiler(lamnet, tmp_path, monkeypatch, arguments, compiler, match):
    path = tmp_path / "c++"
    if compiler is not None:
        path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit 0\n{compiler}\n')
        path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 8), "teal").save("a.png")
    with inductor.patch({"cpp.cxx": (None, str(path))}):
        assert_one_line_error(lamnet(*arguments), 1, match)
    assert {file.name for file in tmp_path.iterdir()} <= {"a.png", "c++"}


def test_compile_without_headers(lamnet, tmp_path, monkeypatch):
    Image.new("RGB", (9, 8), "teal").save(tmp_path / "a.png")
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    assert_one_line_error(lamnet("upscale", tmp_path / "a.png", "--compile"), 1, "python3-dev")


def test_data_verify_counts(lamnet, tmp_path):
    for count in (1, 2):
        Image.new("RGB", (20, 20)).save(tmp_path / f"{count}.png")
        noun = {1: "1 image", 2: "2 images"}[count]
        assert f"; {noun} " in lamnet("data", "verify", tmp_path)[1]
        assert f", {noun}; " in lamnet("compare", "bicubic", "-d", tmp_path, "-s", "2", "--details", "0")[1]
