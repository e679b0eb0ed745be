"""Peer networks loaded by spandrel, and LAMNet as a spandrel architecture."""

import pytest
import torch
from safetensors.torch import save_file

from lamnet_models import CheckpointError, create_model, resolve_model, save_checkpoint, upscale
from lamnet_models.checkpoint import Checkpoint
from lamnet_models.evaluation import evaluate
from lamnet_models.original_format import to_original

spandrel = pytest.importorskip("spandrel", reason="needs the extra peers")
from spandrel.architectures.Compact import Compact  # noqa: E402
from spandrel.architectures.DnCNN import DnCNN  # noqa: E402
from spandrel.architectures.SwinIR import SwinIR  # noqa: E402

from lamnet_models.integrations.spandrel import install, load_peer  # noqa: E402


@pytest.fixture
def compact(tmp_path):
    torch.manual_seed(0)
    torch.save({"params": Compact(num_feat=8, num_conv=2, upscale=2).state_dict()}, tmp_path / "compact.pth")
    return tmp_path / "compact.pth"


def test_evaluate_peer(compact, build_dataset):
    result = evaluate(compact, "set5", data_dir=build_dataset())
    assert (result.scale, result.model, result.variant) == (2, f"{compact.parent.name}/compact.pth", None)
    network = Compact(num_feat=8, num_conv=2, upscale=2).eval()
    network.load_state_dict(torch.load(compact)["params"])
    by_python = evaluate(network, "set5", 2, build_dataset())
    assert [score.psnr for score in result.images] == [score.psnr for score in by_python.images]
    with pytest.raises(ValueError, match="scale must be 2"):
        evaluate(compact, "set5", 4, build_dataset())


def test_peer_padded_to_size_requirements(tmp_path):
    torch.manual_seed(0)
    swinir = SwinIR(
        img_size=64, window_size=8, depths=[1], num_heads=[2], embed_dim=8, upscale=2, upsampler="pixelshuffledirect"
    )
    save_file(
        {key: tensor.contiguous() for key, tensor in swinir.state_dict().items()}, tmp_path / "swinir.safetensors"
    )
    descriptor = spandrel.ModelLoader("cpu").load_from_file(tmp_path / "swinir.safetensors")
    assert descriptor.size_requirements.minimum > 11
    image = torch.rand(1, 3, 11, 13)
    peer = load_peer(tmp_path / "swinir.safetensors")
    assert torch.equal(upscale(image, peer, tile=0), descriptor(image))
    batch = torch.rand(2, 3, 11, 13)
    assert torch.allclose(peer(batch)[1:], descriptor(batch[1:]))


def test_upscale_with_peer_and_alpha(compact):
    image = torch.rand(4, 20, 30)
    image[3, :10] = 0
    assert upscale(image, compact).shape == (4, 40, 60)


@pytest.mark.parametrize("format", ["lamnet", "original"])
@pytest.mark.parametrize("name", ["lamnet_x2", "lamnet_large_x3"])
def test_spandrel_loads_lamnet(tmp_path, name, format):
    install()
    install()  # idempotent
    torch.manual_seed(0)
    model = create_model(name, window=((1, 2), (3, 3))).eval()
    path = tmp_path / ("model.safetensors" if format == "lamnet" else "model.pth")
    save_checkpoint(model, path, format=format)
    descriptor = spandrel.ModelLoader("cpu").load_from_file(path)
    assert descriptor.architecture.id == "LAMNet"
    assert (descriptor.scale, descriptor.input_channels) == (model.scale, 3)
    image = torch.rand(1, 3, 17, 12)
    with torch.no_grad():
        assert torch.equal(descriptor(image), model(image).clamp(0, 1))


def test_spandrel_loads_every_variant(tmp_path):
    install()
    for options in (
        {"in_chans": 1},
        {"embed_dim": 32, "num_heads": 2},
        {"channel_layer": "linear", "mlp_layer": "ffn"},
        {"gate_layer": None, "window": ((1,), (6,))},
        {"attn_layer": "mhdlsa", "num_heads": 6},
    ):
        model = create_model("lamnet_x2", num_blocks=1, depth=2, **options)
        descriptor = spandrel.MAIN_REGISTRY.load(model.state_dict())
        assert descriptor.architecture.id == "LAMNet"
        assert descriptor.model.config == model.config


@pytest.mark.parametrize("gate_layer", ["iem", None])
def test_descriptor_fields(gate_layer):
    install()
    state = create_model("lamnet_x2", num_blocks=1, depth=1, gate_layer=gate_layer).state_dict()
    descriptor = spandrel.ModelLoader("cpu").load_from_state_dict(state)
    assert (descriptor.purpose, descriptor.input_channels, descriptor.output_channels) == ("SR", 3, 3)
    assert descriptor.tiling == (spandrel.ModelTiling.DISCOURAGED if gate_layer else spandrel.ModelTiling.SUPPORTED)
    assert descriptor.size_requirements.none
    for height, width in ((1, 1), (1, 7), (13, 5)):
        assert descriptor(torch.rand(1, 3, height, width)).shape == (1, 3, 2 * height, 2 * width)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-2), (torch.bfloat16, 5e-2)])
def test_spandrel_half_precision(dtype, tolerance, monkeypatch):
    install()
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)  # its float16 convolutions hang on some processors
    state = create_model("lamnet_x4", pretrained=True).state_dict()
    image = torch.rand(1, 3, 11, 14)
    expected = spandrel.ModelLoader("cpu").load_from_state_dict(dict(state))(image)
    half = spandrel.ModelLoader("cpu").load_from_state_dict(dict(state)).to(dtype)
    result = half(image.to(dtype))
    assert result.dtype == dtype
    assert (result.float() - expected).abs().max() < tolerance


def test_spandrel_loads_original_checkpoints(shared):
    install()
    for path in sorted((shared / "golden").glob("*_io.pt")):
        reference = torch.load(path, weights_only=True)
        descriptor = spandrel.ModelLoader("cpu").load_from_file(path.with_name(path.name.replace("_io.pt", ".pth")))
        assert descriptor.architecture.id == "LAMNet"
        for image, expected in zip(reference["input"], reference["output"], strict=True):
            difference = descriptor(image[None])[0] - expected.clamp(0, 1)
            assert difference.abs().max() < 1e-5 * expected.abs().max()


def test_spandrel_loads_original_without_window():
    install()
    model = create_model("lamnet_x2", num_blocks=1, depth=1).eval()
    state = {key: value for key, value in to_original(model.state_dict()).items() if "kernel_map" not in key}
    image = torch.rand(1, 3, 6, 5)
    assert torch.equal(spandrel.ModelLoader("cpu").load_from_state_dict(state)(image), model(image).clamp(0, 1))


def test_detection_is_exclusive():
    install()
    for state in (Compact(num_feat=8, num_conv=2).state_dict(), DnCNN(nb=5).state_dict()):
        assert spandrel.MAIN_REGISTRY.load(state).architecture.id != "LAMNet"
    lamnet_state = create_model("lamnet_x2").state_dict()
    claims = [entry.architecture.id for entry in spandrel.MAIN_REGISTRY if entry.detect(lamnet_state)]
    assert claims == ["LAMNet"]


def test_invalid_files_raise(tmp_path):
    torch.save({"a": torch.zeros(3)}, tmp_path / "odd.pth")
    (tmp_path / "damaged.pth").write_bytes(b"x" * 100)
    for name in ("odd.pth", "damaged.pth"):
        with pytest.raises(CheckpointError, match=name) as error:
            resolve_model(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match="no such file"):
        resolve_model(tmp_path / "missing.pth")
    with pytest.raises(CheckpointError):
        Checkpoint.from_state({"a": torch.zeros(3)})


def test_missing_spandrel_names_the_extra(compact, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lamnet_models.integrations.spandrel", None)
    with pytest.raises(CheckpointError, match=r"pip install 'lamnet\[peers\]'"):
        resolve_model(compact)
