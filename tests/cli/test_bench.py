import json

import pytest
from lamnet_cli.bench import network_row, print_networks

from lamnet_models import LAMNet, save_checkpoint
from lamnet_models.benchmarking import Measurement


@pytest.fixture
def network(tmp_path):
    file = tmp_path / "a.safetensors"
    save_checkpoint(LAMNet(scale=2, embed_dim=8, num_blocks=1, depth=1, num_heads=2), file)
    return file


def test_bench_json_and_charts(lamnet, network, tmp_path, build_dataset):
    evaluation = lamnet("eval", network, "-d", build_dataset() / "Set5/GTmod12", "--json")
    (tmp_path / "psnr.json").write_text(evaluation[1])
    charts = ["--chart", tmp_path / "a.png", "--chart", tmp_path / "a.svg", "--psnr", tmp_path / "psnr.json"]
    options = ["--size", "6x5", "--rounds", 2, "--device", "cpu", "--backend", "eager", "--json", *charts]
    code, out, err = lamnet("bench", network, *options)
    assert code == 0, err
    (row,) = json.loads(out)
    assert row["model"] == f"{network.parent.name}/a.safetensors"
    assert (row["ratio"], row["backend"], len(row["seconds"])) == (1, "eager", 2)
    assert row["flops"] > 0
    assert row["matrix_share"] > 0
    assert "PSNR" in (tmp_path / "a.svg").read_text()
    assert (tmp_path / "a.png").is_file()


def test_network_row_of_differing_output():
    result = Measurement("a", "eager", "fp32", "forward", (1.0,), 1, valid=False, flops=10, matrix_share=0.5)
    assert (network_row(result, result)["ratio"], network_row(result, result)["matrix_share"]) == (None, None)


def test_print_networks(capsys):
    results = [
        Measurement("a", "eager", "fp32", "forward", (1.0,), 1, flops=10, matrix_share=0.456),
        Measurement("a", "onnxruntime", "fp32", "forward", (2.0,), 1),
    ]
    print_networks([network_row(result, results[0]) for result in results], "a")
    header, *rows = capsys.readouterr().out.splitlines()
    assert "of mm" in header
    assert ["46%" in row for row in rows] == [True, False]


def test_bench_windows(lamnet, tmp_path):
    options = ["--windows", "--size", "8x6", "--rounds", 1, "--device", "cpu"]
    code, out, err = lamnet("bench", *options, "--chart", tmp_path / "w.svg")
    assert code == 0, err
    assert "focal" in out
    assert max(map(len, out.splitlines())) <= 80
    assert (tmp_path / "w.svg").is_file()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--chart", "a.bmp"], ".png"),
        (["--backend", "fast"], "eager, native, triton, fused"),
        (["--op"], "MODEL cannot be used with --op"),
        (["--windows"], "MODEL cannot be used with --windows"),
        (["--psnr", "a.json"], "--psnr requires --chart"),
        (["--baseline", "other"], "--baseline"),
    ],
)
def test_bench_wrong_usage(lamnet, network, options, match):
    code, _, err = lamnet("bench", network, *options)
    assert (code, len(err.splitlines())) == (2, 1)
    assert match in err


@pytest.mark.parametrize(
    ("options", "rejected"),
    [
        ("--op --windows", "--windows"),
        ("--op --chart a.png", "--chart"),
        ("--op --size 9x9", "--size"),
        ("--op --threads 1", "--threads"),
        ("--op --memory", "--memory"),
        ("--windows -s 4", "--scale"),  # also the default value
        ("--windows --mode eager", "--mode"),
        ("--windows --precision fp32", "--precision"),
        ("--windows --backend eager", "--backend"),
        ("--windows --train 1x8", "--train"),
        ("--windows --baseline craft", "--baseline"),
        ("--windows --chart a.png --psnr a.json", "--psnr"),
    ],
)
def test_bench_options_without_effect(lamnet, options, rejected):
    code, _, err = lamnet("bench", *options.split())
    assert (code, len(err.splitlines())) == (2, 1)
    assert f"{rejected} cannot be used with --" in err


def test_bench_unavailable_backend(lamnet, network):
    code, _, err = lamnet("bench", network, "--backend", "fused", "--device", "cpu")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "'fused'" in err
