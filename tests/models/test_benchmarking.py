import importlib

import pytest
import torch

from lamnet_layers import ULM, FocalWindow, set_backend
from lamnet_layers.backend import available_backends
from lamnet_models import LAMNet, LAMNetError, ModelError, Upscaler, save_checkpoint
from lamnet_models.benchmarking import (
    MIXERS,
    PEERS,
    Measurement,
    bench,
    draw_chart,
    draw_windows,
    measure_aggregation,
    measure_windows,
    open_network,
    read_psnr,
)
from lamnet_models.benchmarking.layers import WindowAttention, focal_window
from lamnet_models.cost import count_flops

needs_native = pytest.mark.skipif("native" not in available_backends("cpu"), reason="needs the CPU kernels")


@pytest.fixture
def tiny(tmp_path):
    """Checkpoint file of a small network at ×2."""
    network = LAMNet(scale=2, embed_dim=8, num_blocks=1, depth=1, num_heads=2, window=((1,), (1,)))
    save_checkpoint(network, tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
@pytest.mark.parametrize("name", PEERS)
def test_open_network_peer_output_shape(name):
    pytest.importorskip("spandrel")
    with torch.inference_mode():
        assert open_network(name, 3)(torch.rand(1, 3, 10, 9)).shape == (1, 3, 30, 27)


@pytest.mark.parametrize("name", ["swinir_light", "omni_sr"])
def test_bench_peer_bf16_is_valid(name):
    (result,) = bench([name], size=(20, 12), precisions=("bf16",), rounds=1)  # a size without precomputed masks
    assert result.valid


def test_bench_difference_of_altered_network(tmp_path, monkeypatch):
    save_checkpoint(LAMNet(scale=2, embed_dim=16, num_blocks=1, depth=1), tmp_path / "a.safetensors")
    file = str(tmp_path / "a.safetensors")
    (right,) = bench([file], size=(9, 8), rounds=2)
    assert right.valid
    assert right.difference == 0

    def spoil(network):
        torch.nn.init.ones_(network.upsample[0].bias)

    monkeypatch.setattr("lamnet_models.benchmarking.measure.compile_network", spoil)
    wrong = bench([file], size=(9, 8), rounds=1, modes=("compiled",))[0]
    assert wrong.difference > 0


def test_bench_train_counts_images():
    (step,) = bench(["lamnet_x2"], rounds=1, train=(2, 8), scale=2)
    assert (step.images, step.task, step.difference) == (2, "train", None)


def test_bench_memory_on_cpu():
    (result,) = bench(["lamnet_x4"], size=(64, 48), rounds=1, memory=True)
    assert 64 * 48 * 64 * 4 < result.memory < 2**27  # regardless of the memory of this process


def test_bench_measures_networks_without_backends_once(tiny):
    pytest.importorskip("spandrel")
    results = bench([tiny, "safmn"], size=(8, 8), scale=2, rounds=1, backends=("eager", None), device="cpu")
    assert [(result.name, result.backend) for result in results] == [(tiny, "eager"), (tiny, None), ("safmn", None)]


def test_bench_memory_of_training_step_in_child(tiny, monkeypatch):
    measure = importlib.import_module("lamnet_models.benchmarking.measure")
    monkeypatch.setattr(measure, "peak_memory_in_child", lambda *arguments: arguments)
    (result,) = bench([tiny], train=(2, 8), rounds=1, memory=True, backends=("eager",), device="cpu")
    assert result.memory == (tiny, 4, (2, 3, 8, 8), True, "eager")


@pytest.mark.slow
@needs_native
def test_bench_memory_of_training_step_by_backend():
    results = bench(["lamnet_x4"], train=(2, 32), rounds=1, memory=True, backends=("native", "eager"))
    native, eager = (result.memory for result in results)
    adam = 3 * 4 * sum(parameter.numel() for parameter in open_network("lamnet_x4", 4).parameters())
    assert adam < native < eager


@needs_native
def test_count_flops_of_cpu_kernels():
    network, flops = open_network("lamnet_x4", 4), {}
    image = torch.rand(1, 3, 7, 9)
    for backend in ("eager", "native"):
        set_backend(network, backend)
        _, flops[backend] = count_flops(network, image)
    mixers = sum(isinstance(module, ULM) for module in network.modules())
    aggregation, exchange = 2 * 32 * FocalWindow().taps, 2 * 32  # only the kernels count the first, eager the second
    assert flops["native"] - flops["eager"] == 2 * 7 * 9 * mixers * (aggregation - exchange)


@pytest.mark.parametrize("train", [None, (1, 8)])
def test_bench_matrix_share(tiny, monkeypatch, train):
    measure = importlib.import_module("lamnet_models.benchmarking.measure")
    seconds = {"fp32": 0.5, 0: 1.0, 1: 2.0}
    monkeypatch.setattr(
        measure, "time_interleaved", lambda runs, rounds, _: {k: rounds * [seconds.get(k, 1)] for k in runs}
    )
    monkeypatch.setattr(measure, "to_onnxruntime", lambda network, half: network)
    modes = ("eager", "onnxruntime") if train is None else ("eager",)
    results = bench([tiny], size=(8, 8), scale=2, rounds=3, modes=modes, train=train, device="cpu")
    _, forward = count_flops(open_network(tiny, 2), torch.rand(1, 3, 8, 8))
    assert results[0].flops == (forward if train is None else 3 * forward)
    assert results[0].matrix_share == pytest.approx(results[0].flops / (2 * 512**3) * 0.5)
    assert [(result.flops, result.matrix_share) for result in results[1:]] == [(None, None)] * (len(modes) - 1)


@pytest.mark.parametrize("backward", [False, True])
def test_measure_aggregation_counts_bytes(backward):
    result = measure_aggregation((1, 8, 16, 16), "vertical", backward=backward, rounds=3, device="cpu")
    features, weights = 8 * 256 * 4, 52 * 256 * 4
    assert result.bytes == (3 * features + 2 * weights if backward else 2 * features + weights)
    assert result.share > 0


def test_bench_invalid_arguments():
    with pytest.raises(ModelError, match="lamnet_x9"):
        bench(["lamnet_x9"])
    with pytest.raises(ValueError, match="rounds"):
        bench(["lamnet_x4"], rounds=0)


@pytest.mark.slow
def test_upscaler_compiled_matches_eager():
    torch.manual_seed(0)
    model = LAMNet(scale=2, embed_dim=16, num_blocks=2, depth=1).eval()
    image = torch.rand(1, 3, 12, 17)
    with torch.inference_mode():
        expected = model(image)
        upscaler = Upscaler(model, compile=True)
        torch.testing.assert_close(model(image), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(upscaler(image), expected.clamp(0, 1), rtol=1e-4, atol=1e-5)


def test_measure_windows(tmp_path):
    results = measure_windows((3, 7), size=(8, 9), rounds=2, device="cpu")
    assert [(result.mixer, result.side) for result in results] == [(name, side) for name in MIXERS for side in (3, 7)]
    cost = {(result.mixer, result.side): result.operations for result in results}
    assert cost["focal", 3] == cost["separable", 3]  # cells of one pixel
    assert all(cost[name, 3] < cost[name, 7] for name in MIXERS)
    assert all(len(result.seconds) == 2 for result in results)
    for suffix in (".png", ".svg"):
        draw_windows(results, tmp_path / f"windows{suffix}")
    assert "window" in (tmp_path / "windows.svg").read_text()


@pytest.mark.parametrize("side", [*range(1, 48, 2)])
def test_focal_window_side(side):
    assert focal_window(side).size == side


def test_focal_window_published_and_even_side():
    assert focal_window(23) == FocalWindow()
    with pytest.raises(ValueError, match=r"side .*\b8$"):
        measure_windows((8,), size=(4, 4))


def test_window_attention_is_local():
    layer = WindowAttention(8, side=5, heads=2).double()
    x = torch.randn(2, 8, 10, 13, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[:, :, 5:, 5:10], layer(x[:, :, 5:, 5:10]))
    assert layer(x).shape == x.shape


def test_bench_backends(tiny, monkeypatch, triton_interpreter):
    pytest.importorskip("triton")
    fused = importlib.import_module("lamnet_layers.ops.triton.dual_gate")

    calls = []
    dual_gate = fused.dual_gate
    monkeypatch.setattr(fused, "dual_gate", lambda *arguments: calls.append(1) or dual_gate(*arguments))
    results = bench([tiny], size=(3, 2), rounds=2, backends=("eager", "fused"))
    assert [(result.backend, result.valid) for result in results] == [("eager", True), ("fused", True)]
    assert len(calls) == 3  # the first call, to compare, and two rounds


def test_read_psnr(tmp_path):
    texts = {
        "eval": '[{"model": "a", "psnr": 31.5, "ssim": 0.9}]',
        "compare": '{"evaluations": [{"model": "b", "psnr": 32}], "file": null}',
        "plain": '{"c": 33.25, "runs/x/best.pth": 34}',
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    assert read_psnr(tmp_path / name for name in texts) == {
        "a": 31.5,
        "b": 32.0,
        "c": 33.25,
        "x/best.pth": 34.0,
    }
    (tmp_path / "other").write_text('{"c": 34}')
    for bad, message in (("absent", "No such file"), ("other", "conflicting PSNR of c")):
        with pytest.raises(LAMNetError, match=f"{bad}: .*{message}"):
            read_psnr([tmp_path / "plain", tmp_path / bad])
    for text in ("", "[1]", '{"a": null}', "[]x", '[{"model": "a"}]'):
        (tmp_path / "bad").write_text(text)
        with pytest.raises(LAMNetError, match=r"bad: .*lamnet eval --json"):
            read_psnr([tmp_path / "bad"])


def test_draw_chart_skips_networks_without_psnr(tmp_path):
    results = [Measurement(name, "eager", "fp32", "forward", (0.5, 0.6), 1) for name in ("lamnet_x4", "lamnet_x2")]
    draw_chart(results, tmp_path / "chart.svg", psnr={"lamnet_x4": 32.5})
    draw_chart(results, tmp_path / "chart.png")
    svg = (tmp_path / "chart.svg").read_text()
    assert "lamnet_x4" in svg
    assert "lamnet_x2" not in svg
    assert (tmp_path / "chart.png").stat().st_size > 1000
