import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import lamnet_models
from lamnet_models import CheckpointError, ExportError, LAMNet, LAMNetError, Upscaler, export
from lamnet_models.app.service import UpscaleService
from lamnet_models.benchmarking import bench
from lamnet_models.exporting import FORMATS, SIZES, TOLERANCES

ort = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
import onnx  # noqa: E402

from lamnet_models.exporting import to_onnxruntime  # noqa: E402
from lamnet_models.integrations.onnxruntime import OnnxNetwork, load_onnx  # noqa: E402

SMALL = {"scale": 2, "embed_dim": 16, "num_blocks": 1, "depth": 1}


@pytest.fixture
def small():
    return randomized(**SMALL)


def randomized(**arguments):
    """Network with random weights large enough for every part to affect the output."""
    torch.manual_seed(0)
    model = LAMNet(**arguments).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def assert_exported(model, path, **arguments):
    result = export(model, path, **arguments)
    assert path.is_file()
    assert list(result.differences) == list(SIZES)
    assert result.difference <= TOLERANCES[result.half]
    assert result.difference > 0 or result.format == "torch"


@pytest.mark.parametrize("name", ["lamnet_x4", "lamnet_large_x3"])  # the slow test exports all
def test_onnx_models(tmp_path, name):
    assert_exported(name, tmp_path / "a.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", lamnet_models.list_models())
def test_all_models_all_formats(tmp_path, name, format, half):
    assert_exported(name, tmp_path / f"a{FORMATS[format]}", format=format, half=half)


def test_onnx_half_precision(tmp_path, small):
    assert_exported(small, tmp_path / "a.onnx", half=True)


@pytest.mark.slow
def test_aoti_package(tmp_path, small):
    assert_exported(small, tmp_path / "a.pt2", format="aoti")
    metadata = torch._inductor.aoti_load_package(str(tmp_path / "a.pt2")).get_metadata()
    assert metadata["scale"] == "2"


@pytest.mark.parametrize(
    "arguments",
    [
        {"in_chans": 1},
        {"embed_dim": 32, "num_heads": 2, "scale": 1},
        {"channel_layer": "linear", "mlp_layer": "ffn"},
        {"channel_layer": None, "mlp_layer": "gdfn", "hidden_dim": 70},
        {"gate_layer": None, "window": ((1,), (6,))},
        {"window": ((3, 1), (1, 2)), "scale": 5},
        {"window": ((), ())},
    ],
)
def test_onnx_variants(tmp_path, arguments):
    assert_exported(randomized(**SMALL | arguments), tmp_path / "a.onnx")


def test_export_checkpoints(tmp_path, small):
    for name in ("a.safetensors", "a.pth"):
        lamnet_models.save_checkpoint(small, tmp_path / name, format="original" if name == "a.pth" else "lamnet")
        assert_exported(tmp_path / name, tmp_path / f"{name}.onnx")


def test_onnx_metadata_and_shapes(tmp_path, small):
    export(small, tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert (metadata["scale"], metadata["in_chans"], json.loads(metadata["mean"])) == (
        "2",
        "3",
        [0.4488, 0.4371, 0.404],
    )
    assert json.loads(metadata["lamnet"])["config"] == small.config
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["batch", 3, "height", "width"]
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]  # standard operators only


@pytest.mark.parametrize("opset", [17, 18, 19])
@pytest.mark.parametrize("half", [False, True])
def test_onnx_older_opsets(tmp_path, small, opset, half):
    assert_exported(small, tmp_path / "a.onnx", opset=opset, half=half)
    model = onnx.load(tmp_path / "a.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import] == [opset]


def test_opset_invalid(tmp_path, small):
    for path, opset in (("a.onnx", 16), ("a.onnx", 21), ("a.pt2", 20)):
        with pytest.raises(ValueError, match=r"^opset must"):
            export(small, tmp_path / path, opset=opset)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("half", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_torch_archive(tmp_path, half):
    model = randomized(**SMALL, window=((1, 2), (1, 1)))  # fewer operators to trace
    assert_exported(model, tmp_path / "a.pt2", half=half)
    extra = {"lamnet": "", "scale": ""}
    program = torch.export.load(tmp_path / "a.pt2", extra_files=extra)
    assert extra["scale"] == "2"
    assert json.loads(extra["lamnet"])["config"] == model.config
    operators = {str(node.target).partition(".")[0] for node in program.graph.nodes if node.op == "call_function"}
    assert not any("lamnet" in operator for operator in operators)
    assert not any(node.kwargs.get("device") for node in program.graph.nodes)  # runs on any device


def test_onnx_half_iem_no_overflow(tmp_path):
    model = randomized(**SMALL)
    image = torch.ones(1, 3, 300, 300)  # sums over 90,000 pixels
    export(model, tmp_path / "a.onnx", half=True)
    with torch.no_grad():
        expected = model(image)
    difference = (load_onnx(tmp_path / "a.onnx")(image) - expected).abs().max() / expected.abs().max()
    assert difference < TOLERANCES[True]


@pytest.mark.parametrize("existing", [None, b"existing"])
def test_differing_program_not_kept(tmp_path, small, monkeypatch, existing):
    from lamnet_models.exporting import exporter

    path = tmp_path / "a.onnx"
    if existing:
        path.write_bytes(existing)
    write, load = exporter._PROGRAMS["onnx"]
    monkeypatch.setitem(exporter._PROGRAMS, "onnx", (lambda model, *rest: write(_corrupt(model), *rest), load))
    with pytest.raises(ExportError, match=r"a\.onnx") as error:
        export(small, path)
    assert "\n" not in str(error.value)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([existing] if existing else [])


def _corrupt(model):
    with torch.no_grad():
        model.upsample[0].bias += 0.01
    return model


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "a.bin"}, r"^path .*a\.bin"),
        ({"path": "a.pt2", "format": "onnx"}, r"^path .*a\.pt2"),
        ({"path": "a.onnx", "format": "tflite"}, "^format .*tflite"),
        ({"path": "a.onnx", "device": "meta"}, "^device .*meta"),
    ],
)
def test_invalid_arguments(tmp_path, small, arguments, message):
    with pytest.raises(ValueError, match=message):
        export(small, **arguments | {"path": tmp_path / arguments["path"]})


def test_other_networks_raise(tmp_path):
    with pytest.raises(ExportError, match="LAMNet, got Identity"):
        export(torch.nn.Identity(), tmp_path / "a.onnx")


WITHOUT_TORCH = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError(name)

sys.meta_path.insert(0, Blocker())
import numpy, onnxruntime
session = onnxruntime.InferenceSession({file!r}, providers=["CPUExecutionProvider"])
scale = int(session.get_modelmeta().custom_metadata_map["scale"])
image = numpy.load({image!r})
(output,) = session.run(None, {{"image": image}})
assert output.shape[2:] == (scale * image.shape[2], scale * image.shape[3])
numpy.save({result!r}, output)
assert not {{"torch", "lamnet_models", "lamnet_layers"}} & sys.modules.keys()
"""


def test_onnx_runs_without_torch(tmp_path, small):
    export(small, tmp_path / "a.onnx")
    image = torch.rand(2, 3, 13, 17)
    np.save(tmp_path / "image.npy", image.numpy())
    # Dependencies of onnxruntime stay available; LAMNet and PyTorch packages are blocked.
    blocked = ("torch", "torchvision", "timm", "onnx", "safetensors", "lamnet_models", "lamnet_layers", "lamnet_cli")
    names = {"file": "a.onnx", "image": "image.npy", "result": "result.npy"}
    paths = {key: str(tmp_path / name) for key, name in names.items()}
    code = WITHOUT_TORCH.format(blocked=blocked, **paths)
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    with torch.no_grad():
        expected = small(image).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "result.npy"), expected, atol=1e-4 * abs(expected).max())


def test_exported_file_as_model(tmp_path, small):
    export(small, tmp_path / "a.onnx")
    picture = np.random.default_rng(0).integers(0, 2**16, (20, 30, 4), dtype=np.uint16)  # 16 bit, with alpha
    torch_output, onnx_output = (Upscaler(model)(picture) for model in (small, tmp_path / "a.onnx"))
    assert onnx_output.dtype == np.uint16
    assert abs(torch_output.astype(int) - onnx_output).max() <= 8
    tiled = Upscaler(str(tmp_path / "a.onnx"), tile=8, tile_pad=4)(picture)
    assert tiled.shape == onnx_output.shape
    with pytest.raises(ValueError, match=r"tile .*'exact'"):
        Upscaler(tmp_path / "a.onnx", tile="exact")
    half = to_onnxruntime(small, half=True)
    assert half(torch.rand(1, 3, 5, 5)).dtype == torch.float32


def test_onnxruntime_ignores_accelerator(tmp_path, small, monkeypatch):
    def resolve_device(device):
        return torch.device("cuda" if device == "auto" else device)

    for module in ("lamnet_models.inference.upscaler", "lamnet_models.app.service"):
        monkeypatch.setattr(f"{module}.resolve_device", resolve_device)
    export(small, tmp_path / "a.onnx")
    lamnet_models.save_checkpoint(small, tmp_path / "a.safetensors")
    upscalers = (
        Upscaler(tmp_path / "a.onnx"),
        Upscaler(tmp_path / "a.safetensors", backend="onnxruntime"),
        UpscaleService(tmp_path).upscalers(tmp_path / "a.onnx").for_size(9, 8),
    )
    for upscaler in upscalers:
        assert upscaler.device == torch.device("cpu")
        assert upscaler.run(np.zeros((9, 8, 3), np.uint8)).precision == "fp32"


@pytest.mark.parametrize("option", [{"device": "meta"}, {"precision": "fp16"}, {"compile": True}])
def test_onnx_file_unsupported_option(tmp_path, small, option):
    export(small, tmp_path / "a.onnx")
    with pytest.raises(ValueError, match="ONNX Runtime"):
        Upscaler(tmp_path / "a.onnx", **option)


def test_load_onnx_invalid_files_raise(tmp_path, small):
    (tmp_path / "damaged.onnx").write_bytes(b"x" * 100)
    (tmp_path / "empty.onnx").touch()
    export(small, tmp_path / "a.onnx")
    without_metadata = onnx.load(tmp_path / "a.onnx")
    del without_metadata.metadata_props[:]
    onnx.save(without_metadata, tmp_path / "foreign.onnx")
    for name in ("damaged", "empty", "foreign", "missing"):
        with pytest.raises(CheckpointError, match=f"{name}.onnx: ") as error:
            lamnet_models.resolve_model(tmp_path / f"{name}.onnx")
        assert "\n" not in str(error.value)


def test_missing_packages_name_the_extra(tmp_path, small, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(LAMNetError, match=r"pip install 'lamnet\[onnx\]'"):
        to_onnxruntime(small)
    for name in ("onnx", "lamnet_models.exporting.onnx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ExportError, match=r"pip install 'lamnet\[onnx\]'"):
        export(small, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_onnxruntime_out_of_memory(small):
    class Session:
        def run(self, *_):
            raise Exception("Failed to allocate memory for requested buffer of size 9")

        def get_inputs(self):
            return [type("Input", (), {"name": "image", "type": "tensor(float)"})]

    with pytest.raises(LAMNetError, match="out of memory"):
        Upscaler(OnnxNetwork(Session(), 2, 3, 16), tile=0)(torch.rand(3, 4, 4))


def test_bench_onnxruntime_mode(small, tmp_path):
    lamnet_models.save_checkpoint(small, tmp_path / "a.safetensors")
    results = bench([str(tmp_path / "a.safetensors")], size=(9, 8), rounds=1, modes=("eager", "onnxruntime"))
    assert [result.mode for result in results] == ["eager", "onnxruntime"]
    assert results[1].valid
    assert results[1].difference > 0
    with pytest.raises(ValueError, match="forward passes on the CPU"):
        bench(["lamnet_x2"], modes=("onnxruntime",), train=(1, 8))


def test_onnx_mhdlsa_raises(tmp_path):
    model = LAMNet(scale=2, embed_dim=8, num_blocks=1, depth=1, num_heads=2, attn_layer="mhdlsa")
    with pytest.raises(ExportError, match="attn_layer='fsa'"):
        export(model, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
