import json
import subprocess
import sys

import pytest
import torch
from lamnet_cli.main import app
from PIL import Image
from torch._inductor import config as inductor

import lamnet_models

COMMANDS = [command.name for command in app.registered_commands]


def assert_one_line_error(result, code, *words):
    assert result[0] == code
    lines = result[2].splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("lamnet: error: ")
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["upscale", "--help"], ["list", "--nonsense"]])
def test_answers_without_torch(arguments):
    code = (
        "import sys\nfrom lamnet_cli.main import main\n"
        f"try: main({arguments})\nexcept SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'PIL', 'timm'} & sys.modules.keys(), 'heavy imports'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_has_an_example(lamnet, command):
    code, out, _ = lamnet(command, "--help")
    assert code == 0
    assert f"Example: lamnet {command}" in out


def test_version(lamnet):
    code, out, _ = lamnet("--version")
    assert code == 0
    assert out.startswith("lamnet 0.")


def test_near_misses_get_a_hint(lamnet):
    assert_one_line_error(lamnet("upscle"), 2, "'upscale'")
    assert_one_line_error(lamnet("create", "lamnt_x4"), 2, "did you mean lamnet_x4?")


def test_nothing_prints_the_help(lamnet):
    code, out, err = lamnet()
    assert code == 2
    assert "upscale" in out + err
    assert "error" not in err


def test_wrong_usage_is_one_line(lamnet):
    assert_one_line_error(lamnet("list", "--nonsense"), 2, "--nonsense", "lamnet list --help")
    assert_one_line_error(lamnet("create"), 2)


def test_list(lamnet):
    code, out, _ = lamnet("list")
    assert code == 0
    assert "849,136" in out
    rows = json.loads(lamnet("list", "*_x4", "--pretrained", "--json")[1])
    assert {row["name"]: row["weights"] for row in rows} == {
        name: [f"{name}.photos310_v1"] for name in ("lamnet_x4", "lamnet_large_x4")
    }


def test_info_of_a_name(lamnet):
    facts = json.loads(lamnet("info", "lamnet_large_x2", "--size", "1920x1080", "--json")[1])
    assert facts["params"] == 1_024_028
    assert facts["input_size"] == [1920, 1080]
    assert facts["operations"] > facts["macs"]
    assert_one_line_error(lamnet("info", "lamnet_x2", "--size", "12"), 2, "WIDTHxHEIGHT")


def test_info_of_a_file_tells_its_training(lamnet):
    path = lamnet_models.pretrained.packaged_weights()["lamnet_x4.photos310_v1"]
    code, out, _ = lamnet("info", path)
    assert code == 0
    assert "3707" in out


def test_create_writes_a_file_that_rebuilds_the_model(lamnet, tmp_path):
    file = tmp_path / "x4.safetensors"
    code, out, _ = lamnet("create", "lamnet_x4", "--pretrained", "-o", file, "--json")
    assert code == 0
    assert json.loads(out)["params"] == 849_136
    image = torch.rand(1, 3, 8, 9)
    expected = lamnet_models.create_model("lamnet_x4", pretrained=True)(image)
    assert torch.equal(lamnet_models.load_model(file)(image), expected)


def test_create_writes_the_format_of_the_extension(lamnet, tmp_path):
    assert lamnet("create", "lamnet_x3", "-o", tmp_path / "x3.pth")[0] == 0
    assert "alpha" in torch.load(tmp_path / "x3.pth", weights_only=True)["params_ema"]


def test_create_never_writes_over_a_file(lamnet, tmp_path):
    file = tmp_path / "mine.safetensors"
    file.write_bytes(b"mine")
    assert_one_line_error(lamnet("create", "lamnet_x2", "-o", file), 2, "--overwrite")
    assert file.read_bytes() == b"mine"
    assert lamnet("create", "lamnet_x2", "-o", file, "--overwrite")[0] == 0
    assert lamnet_models.load_model(file).scale == 2


def test_create_without_weights_says_what_there_is(lamnet):
    assert_one_line_error(lamnet("create", "lamnet_x2.none", "--pretrained"), 2, "lamnet_x2.photos310_v2")


def test_create_into_a_missing_folder(lamnet, tmp_path):
    assert_one_line_error(lamnet("create", "lamnet_x2", "-o", tmp_path / "no" / "x.safetensors"), 2, "does not exist")


def test_convert_there_and_back(lamnet, tmp_path):
    model = lamnet_models.LAMNet(scale=2, channels=16, num_blocks=1, depth=2)
    ours, released, again = (tmp_path / name for name in ("a.safetensors", "b.pth", "c.safetensors"))
    lamnet_models.save_checkpoint(model, ours)
    assert lamnet("convert", ours, released)[0] == 0
    assert "params_ema" in torch.load(released, weights_only=True)
    assert lamnet("convert", released, again)[0] == 0
    state = lamnet_models.load_model(again).state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())


def test_convert_refuses_what_is_no_checkpoint(lamnet, tmp_path):
    bad, out = tmp_path / "bad.pth", tmp_path / "out.safetensors"
    bad.write_bytes(b"no checkpoint")
    assert_one_line_error(lamnet("convert", bad, out), 1, str(bad))
    assert_one_line_error(lamnet("convert", tmp_path / "none.pth", out), 1, "no such file")
    assert not out.exists()


def test_env(lamnet):
    facts = json.loads(lamnet("env", "--json")[1])
    assert facts["torch"] == torch.__version__.partition("+")[0]
    assert "eager" in facts["focal_aggregate"]
    assert facts["fused kernels"] == "off; LAMNET_BACKEND=fused asks for them"


def test_bench_prints_ratios_to_a_baseline(lamnet, tmp_path):
    chart = tmp_path / "chart.svg"
    code, out, _ = lamnet("bench", "lamnet_x4", "safmn", "--size", "16x12", "--rounds", "2", "--chart", chart, "--json")
    assert code == 0
    ours, peer = json.loads(out)
    assert (ours["ratio"], ours["difference"]) == (1, 0)
    assert peer["ratio"] == pytest.approx(
        sum(a / b for a, b in zip(peer["seconds"], ours["seconds"], strict=True)) / 2, rel=1e-6
    )
    assert "</svg>" in chart.read_text(encoding="utf-8")
    code, out, _ = lamnet("bench", "safmn", "--train", "1x16", "--rounds", "1")
    assert code == 0
    assert "1.000" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mode", "fast"], "eager, compiled"),
        (["--size", "large"], "WIDTHxHEIGHT"),
        (["--baseline", "swinir"], "--baseline"),
        (["nothing.pth"], "nothing.pth"),
    ],
)
def test_bench_refuses_what_it_cannot_measure(lamnet, arguments, words):
    code, _, err = lamnet("bench", "lamnet_x4", *arguments)
    assert code in (1, 2)
    assert words in err


@pytest.mark.parametrize(
    ("compiler", "words"),
    {
        None: "none was found",
        "echo 'internal error: no licence' >&2; exit 1": "ended with: internal error: no licence",
        "exit 3": "ended with: code 3",
    }.items(),
)
@pytest.mark.parametrize(
    "arguments", [["upscale", "a.png", "--compile"], ["export", "lamnet_x4", "--format", "aoti", "-o", "a.pt2"]]
)
def test_without_a_compiler_that_works(lamnet, tmp_path, monkeypatch, arguments, compiler, words):
    path = tmp_path / "c++"
    if compiler is not None:
        path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit 0\n{compiler}\n')
        path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 8), "teal").save("a.png")
    with inductor.patch({"cpp.cxx": (None, str(path))}):
        assert_one_line_error(lamnet(*arguments), 1, words)
    assert {file.name for file in tmp_path.iterdir()} <= {"a.png", "c++"}


def test_without_headers(lamnet, tmp_path, monkeypatch):
    Image.new("RGB", (9, 8), "teal").save(tmp_path / "a.png")
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    assert_one_line_error(lamnet("upscale", tmp_path / "a.png", "--compile"), 1, "python3-dev")
