"""Checkpoints: round trips, both formats, and one-line errors for damaged files."""

import contextlib
import json
import os
import pickle
import zipfile
from argparse import Namespace
from pathlib import Path
from unittest import mock

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lamnet_models import CheckpointError, LAMNet, load_model, save_checkpoint
from lamnet_models.checkpoint import FORMAT_VERSION, Checkpoint, infer_config, read_checkpoint
from lamnet_models.original_format import from_original, to_original

TINY = {"scale": 2, "embed_dim": 8, "num_blocks": 2, "depth": 1, "num_heads": 2, "window": ((1, 2), (1, 1))}

VARIANTS = [
    {},
    {"scale": 1},
    {"scale": 4, "in_chans": 1},
    {"scale": 3, "in_chans": 4},
    {"in_chans": 2, "scale": 1},
    {"num_blocks": 1, "depth": 6},
    {"embed_dim": 24, "num_heads": 3},
    {"embed_dim": 12, "num_heads": 1},
    {"window": None},
    {"window": ((1, 2), (3, 3))},
    {"window": ((1,), (6,))},
    {"window": ((2, 1, 3), (1, 2, 1))},
    {"window": ((), ())},
    {"channel_layer": "linear"},
    {"channel_layer": None},
    {"channel_layer": None, "embed_dim": 6, "num_heads": 3, "scale": 1, "in_chans": 3},
    {"gate_layer": None},
    {"attn_layer": "mhdlsa", "window": None},
    {"attn_layer": "mhdlsa", "num_heads": 3, "window": ((1,), (2,)), "gate_layer": None},
    {"attn_layer": "mhdlsa", "window": ((), ()), "channel_layer": None},
    {"mlp_layer": "gdfn"},
    {"mlp_layer": "gdfn", "hidden_dim": 5},
    {"mlp_layer": "gdfn", "hidden_dim": 16},
    {"mlp_layer": "dgfn", "hidden_dim": 4},
    {"mlp_layer": "dgfn", "hidden_dim": 16},
    {"mlp_layer": "ffn"},
    {"mlp_layer": "ffn", "hidden_dim": 8},
    {"gate_layer": None, "channel_layer": "linear", "mlp_layer": "ffn", "in_chans": 1, "window": ((5,), (2,))},
]
every_variant = pytest.mark.parametrize("changes", VARIANTS, ids=str)


def build(**changes) -> LAMNet:
    torch.manual_seed(0)
    model = LAMNet(**(TINY | changes))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def assert_same(model: LAMNet, expected: LAMNet) -> None:
    assert model.config == expected.config
    state, expected_state = model.state_dict(), expected.state_dict()
    assert state.keys() == expected_state.keys()
    assert all(map(torch.equal, state.values(), expected_state.values()))
    image = torch.rand(1, expected.in_chans, 3, 4)
    assert torch.equal(model(image), expected(image))


def rewrite(path: Path, **metadata) -> Path:
    """Rewrite a checkpoint with other metadata."""
    save_file(read_checkpoint(path).state, path, {"lamnet": json.dumps(metadata)})
    return path


@pytest.fixture
def saved(tmp_path) -> Path:
    path = tmp_path / "model.safetensors"
    save_checkpoint(build(), path, training={"steps": 7})
    return path


def load_error(path: Path) -> str:
    """Return the one-line error message of a file, without its path."""
    with pytest.raises(CheckpointError) as info:
        load_model(path)
    message = str(info.value)
    assert "\n" not in message
    assert message.isprintable()
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


# LAMNet format


@every_variant
def test_round_trip(tmp_path, changes):
    model, path = build(**changes), tmp_path / "model.safetensors"
    save_checkpoint(model, path)
    loaded = load_model(path)
    assert_same(loaded, model)
    assert not loaded.training


@every_variant
def test_metadata_alone_rebuilds_the_model(tmp_path, changes):
    model, path = build(**changes), tmp_path / "model.safetensors"
    save_checkpoint(model, path, training={"data": "noise"})
    with safe_open(path, framework="pt") as file:
        metadata = json.loads(file.metadata()["lamnet"])
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    assert metadata == {"version": FORMAT_VERSION, "config": model.config, "training": {"data": "noise"}}
    rebuilt = LAMNet(**metadata["config"]).eval()
    rebuilt.load_state_dict(state)
    assert_same(rebuilt, model)


@every_variant
def test_state_dict_alone_rebuilds_the_model(tmp_path, changes):
    model = build(**changes)
    assert infer_config(model.state_dict()) == model.config
    save_file(model.state_dict(), tmp_path / "bare.safetensors")
    assert_same(load_model(tmp_path / "bare.safetensors"), model)
    torch.save({f"module.{key}": tensor for key, tensor in model.state_dict().items()}, tmp_path / "bare.pth")
    assert_same(load_model(tmp_path / "bare.pth"), model)


def test_training_metadata_round_trip(saved):
    checkpoint = read_checkpoint(saved)
    assert checkpoint.training == {"steps": 7}
    assert checkpoint.format == "lamnet"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_dtypes_load_as_float32(tmp_path, dtype):
    model = build().to(dtype)
    for file_format in ("lamnet", "original"):
        save_checkpoint(model, tmp_path / file_format, format=file_format)
        state = load_model(tmp_path / file_format).state_dict()
        for (key, tensor), original in zip(state.items(), model.state_dict().values(), strict=True):
            assert tensor.dtype == (torch.int32 if key.endswith(".cells") else torch.float32)
            assert torch.equal(tensor, original.to(tensor.dtype))


def test_tensor_arguments_saved_as_json(tmp_path):
    model = LAMNet(**(TINY | {"embed_dim": torch.tensor(8), "scale": torch.tensor(2)}))
    save_checkpoint(model, tmp_path / "model.safetensors")
    assert load_model(tmp_path / "model.safetensors").config == model.config


@pytest.mark.parametrize(
    ("changes", "exchange", "channel_mixer"),
    [({}, True, "csm"), ({"gate_layer": None, "channel_layer": None}, False, "none")],
)
def test_metadata_with_older_names_loads(tmp_path, changes, exchange, channel_mixer):
    model, path = build(**changes), tmp_path / "model.safetensors"
    save_checkpoint(model, path)
    names = {
        "embed_dim": "channels",
        "num_heads": "heads",
        "hidden_dim": "hidden_channels",
        "attn_layer": "attention",
        "channel_layer": "channel_mixer",
        "gate_layer": "exchange",
        "mlp_layer": "feed_forward",
    }
    config = {names.get(key, key): value for key, value in model.config.items()}
    config |= {"exchange": exchange, "channel_mixer": channel_mixer}
    rewrite(path, version=1, config=config)
    assert read_checkpoint(path).config == model.config
    assert_same(load_model(path), model)
    rewrite(path, version=1, config=config | {"exchange": not exchange})
    assert "gate_layer" in load_error(path)


# Original format


@every_variant
def test_original_format_bijection(changes):
    if "gate_layer" in changes:
        pytest.skip("the original format cannot represent gate_layer=None")
    if "attn_layer" in changes:
        pytest.skip("the original format has attn_layer='fsa' only")
    state = build(**changes).state_dict()
    original = to_original(state)
    assert len(original) == len(state)
    restored = from_original(original)
    assert restored.keys() == state.keys()
    assert all(torch.equal(restored[key], tensor) for key, tensor in state.items())
    assert infer_config(restored) == infer_config(state)


@pytest.mark.parametrize("name", ["lamnet_x2", "lamnet_large_x4", "window19_x2"])
def test_original_files_round_trip_bitwise(shared, tmp_path, name):
    original = torch.load(shared / "golden" / f"{name}.pth", weights_only=True)
    original = original.get("params_ema") or original["params"]
    converted, restored = tmp_path / "converted.safetensors", tmp_path / "restored.pth"
    save_checkpoint(load_model(shared / "golden" / f"{name}.pth"), converted)
    save_checkpoint(load_model(converted), restored, format="original")
    copy = torch.load(restored, weights_only=True)
    assert copy.keys() == {"params_ema"}
    copy = copy["params_ema"]
    assert copy.keys() == original.keys()
    for key, tensor in original.items():
        assert copy[key].dtype == tensor.dtype
        assert torch.equal(copy[key], tensor)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("under", ["params_ema", "params", None])
def test_original_files_prefixes_and_keys(tmp_path, under, prefix):
    model = build()
    state = {prefix + key: tensor for key, tensor in to_original(model.state_dict()).items()}
    torch.save({under: state} if under else state, tmp_path / "model.pth")
    assert read_checkpoint(tmp_path / "model.pth").format == "original"
    assert_same(load_model(tmp_path / "model.pth"), model)


@pytest.mark.parametrize(
    ("content", "prefix"),
    [
        (lambda state: {"epoch": 3, "global_step": 9, "state_dict": state, "hyper_parameters": {"lr": 1e-3}}, "net."),
        (lambda state: {"epoch": 3, "arch": "lamnet_x2", "state_dict": state, "args": Namespace(lr=1e-3)}, ""),
        (lambda state: {"state_dict": {}, "state_dict_ema": state, "optimizer": {"state": {}}}, "module."),
        (lambda state: {"model": state, "optimizer": {}}, "_orig_mod."),
        (lambda state: {"model": {"weight": torch.ones(1)}, "model_ema": state}, "module."),
        (lambda state: {"model": {"weight": torch.ones(1)}, "ema": state, "step": 1}, ""),
        (lambda state: {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": {"state": {}}}, ""),
    ],
    ids=["Lightning", "timm", "timm with EMA", "model", "model with EMA", "training state", "PyTorch tutorial"],
)
@pytest.mark.parametrize("original", [False, True])
def test_checkpoints_of_training_frameworks(content, prefix, original, tmp_path):
    model = build()
    state = to_original(model.state_dict()) if original else model.state_dict()
    state = {f"{prefix}{key}": tensor for key, tensor in state.items()}
    if prefix:
        state["criterion.weight"] = torch.ones(1)  # not of the network
    torch.save(content(state), tmp_path / "last.ckpt")
    loaded = load_model(tmp_path / "last.ckpt").state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in model.state_dict().items())


def test_params_ema_preferred(tmp_path):
    averaged, last = build(), build()
    nn.init.ones_(last.conv_first.weight)
    states = {"params": to_original(last.state_dict()), "params_ema": to_original(averaged.state_dict())}
    torch.save(states, tmp_path / "model.pth")
    assert_same(load_model(tmp_path / "model.pth"), averaged)


@pytest.mark.parametrize("window", [None, ((1, 2), (3, 3)), ((1,), (6,))])
def test_original_files_without_window(tmp_path, window):
    model = build(window=window)
    state = {key: t for key, t in to_original(model.state_dict()).items() if not key.endswith("kernel_map")}
    torch.save(state, tmp_path / "model.pth")
    assert_same(load_model(tmp_path / "model.pth"), model)


def test_original_files_without_unpublished_window_raises(tmp_path):
    state = to_original(build().state_dict())
    torch.save({key: t for key, t in state.items() if not key.endswith("kernel_map")}, tmp_path / "model.pth")
    assert "size 7" in load_error(tmp_path / "model.pth")


def test_original_format_without_exchange_raises(tmp_path):
    with pytest.raises(CheckpointError, match="without_exchange"):
        save_checkpoint(build(gate_layer=None), tmp_path / "model.pth", format="original")
    assert not list(tmp_path.iterdir())


# Mismatched weights


def without(state: dict[str, Tensor], *keys: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state.items() if key not in keys}


OTHER_WINDOW = torch.tensor([[-2, 1], [-1, 1], [0, 1], [1, 1], [2, 1]], dtype=torch.int32)

MISMATCHES = {
    "missing": (
        lambda state: without(state, "conv_body.bias", "blocks.1.layers.0.layer.proj_in.weight"),
        "missing: blocks.1.layers.0.layer.proj_in.weight, conv_body.bias",
    ),
    "missing and needed": (lambda state: without(state, "conv_first.weight"), "conv_first.weight is missing"),
    "missing layer": (
        lambda state: {k: t for k, t in state.items() if not k.startswith("blocks.1.layers.1.")},
        "missing: blocks.1.layers.1.layer.depthwise.bias, ",
    ),
    "unexpected": (lambda state: state | {"extra.weight": torch.zeros(1)}, "unexpected: extra.weight"),
    "unexpected line": (lambda state: state | {"extra\nline": torch.zeros(1)}, "unexpected: extra line"),
    "wrong shape": (
        lambda state: state | {"conv_body.weight": torch.zeros(8, 8, 1, 1)},
        "conv_body.weight (8, 8, 1, 1) instead of (8, 8, 3, 3)",
    ),
    "several": (
        lambda state: without(state, "conv_body.bias") | {"extra": torch.zeros(1)},
        "missing: conv_body.bias; unexpected: extra",
    ),
    "many": (lambda state: state | {f"extra.{i}": torch.zeros(1) for i in range(9)}, "extra.4 and 4 more"),
    "outputs not scale² · in_chans": (
        lambda state: state | {"upsample.0.weight": torch.zeros(7, 8, 3, 3)},
        "upsample.0.weight",
    ),
    "flat": (lambda state: state | {"conv_first.weight": torch.zeros(8)}, "conv_first.weight has shape (8,)"),
    "empty tensor": (lambda state: state | {"conv_first.weight": torch.zeros(8, 0, 3, 3)}, "has shape (8, 0, 3, 3)"),
    "odd heads": (
        lambda state: state | {"blocks.0.layers.0.layer.spatial.horizontal.pointwise.weight": torch.zeros(9, 4, 1, 1)},
        "9 attention weights",
    ),
    "no window": (
        lambda state: state | {"blocks.0.layers.0.layer.spatial.cells": torch.full((5, 2), float("nan"))},
        "spatial.cells: ",
    ),
    "two windows": (
        lambda state: state | {"blocks.1.layers.0.layer.spatial.cells": OTHER_WINDOW},
        "(1, 2), (1, 1): blocks.1.layers.0.layer.spatial.cells",
    ),
    "huge window": (
        lambda state: (
            state
            | {
                "blocks.0.layers.0.layer.spatial.cells": torch.tensor(
                    [[-2, 2**62], [-1, 1], [0, 1], [1, 1], [2, 2**62]], dtype=torch.int64
                )
            }
        ),
        "9223372036854775811",
    ),
    "huge width": (  # would take many gigabytes
        lambda state: state | {"conv_first.weight": torch.zeros(20000, 3, 1, 1)},
        "20000",
    ),
    "odd keys": (
        lambda state: (
            state
            | {f"blocks.{i}.x": torch.zeros(1) for i in range(2000)}
            | {f"blocks.0.layers.{i}.x": torch.zeros(1) for i in range(2000)}
        ),
        "2000 blocks",
    ),
    "another network": (lambda _: nn.Linear(2, 3).state_dict(), "not a LAMNet checkpoint: conv_first.weight"),
}


@pytest.mark.parametrize("file_type", ["safetensors", "pickle"])
@pytest.mark.parametrize("mismatch", MISMATCHES)
def test_mismatched_weights_named(tmp_path, mismatch, file_type):
    change, message = MISMATCHES[mismatch]
    path = tmp_path / "model"
    state = change(build().state_dict())
    if file_type == "safetensors":
        save_file(state, path, {"lamnet": json.dumps({"version": 1, "config": build().config})})
    else:
        torch.save(state, path)
    error = load_error(path)
    assert message in error
    assert len(error) < 1000


def test_original_mismatched_weights_named(tmp_path):
    state = to_original(build().state_dict())
    torch.save(without(state, "alpha") | {"deep_feature_extraction.9.weight": torch.zeros(1)}, tmp_path / "model.pth")
    message = load_error(tmp_path / "model.pth")
    assert "missing: residual.alpha; unexpected: deep_feature_extraction.9.weight" in message


def test_load_into_other_model_raises(saved):
    checkpoint = read_checkpoint(saved)
    with pytest.raises(CheckpointError, match=r"upsample\.0\.weight \(12, 8, 3, 3\) instead of \(27,"):
        checkpoint.load_into(build(scale=3))
    with pytest.raises(CheckpointError, match=r"missing: .*without_exchange"):
        checkpoint.load_into(build(gate_layer=None))
    with pytest.raises(CheckpointError, match=r"\(2, 1\), \(1, 1\): blocks\.0\.layers\.0\.layer\.spatial"):
        checkpoint.load_into(build(window=((2, 1), (1, 1))))
    target = build()
    nn.init.zeros_(target.conv_first.weight)
    checkpoint.load_into(target)
    assert_same(target, build())


# Damaged and malicious files


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


DAMAGED = {
    "empty": b"",
    "one byte": b"\x80",
    "random": bytes(torch.randint(256, (4096,), generator=torch.Generator().manual_seed(0)).tolist()),
    "page": b"<!DOCTYPE html><title>404</title>" * 9,
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 3\n",
    "pickle of nothing": pickle.dumps(None),
    "pickle of a list": pickle.dumps([1, 2]),
    "cut pickle": pickle.dumps({"a": 1}, protocol=2)[:-3],
    "header of 2^60 bytes": (2**60).to_bytes(8, "little") + b'{"a":1}',
    "header cut": safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})[:20],
    "no JSON": safetensors(b"{'a': 1}"),
    "data missing": safetensors({"a": {"dtype": "F32", "shape": [1 << 30], "data_offsets": [0, 4 << 30]}}),
    "shape too large": safetensors({"a": {"dtype": "F32", "shape": [1 << 30], "data_offsets": [0, 4]}}, b"1234"),
    "unknown type": safetensors({"a": {"dtype": "X1", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
    "no tensors": safetensors({"__metadata__": {"lamnet": "{}"}}),
    "metadata no JSON": safetensors({"__metadata__": {"lamnet": "{"}}),
    "metadata too deep": safetensors({"__metadata__": {"lamnet": "[" * 100000}}),
    "overlapping offsets": safetensors(
        {key: {"dtype": "F32", "shape": [2], "data_offsets": [at, at + 8]} for key, at in (("a", 0), ("b", 4))},
        bytes(12),
    ),
    "a hole between offsets": safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)),
    "one name twice": safetensors(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        bytes(4),
    ),
    "a negative size": safetensors({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)),
    "sizes beyond 64 bits": safetensors(
        {"a": {"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 4]}}, bytes(4)
    ),
    "metadata not a number": safetensors({"__metadata__": {"lamnet": '{"version": NaN}'}}),
    "more tensors than any": safetensors(
        {str(key): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for key in range(20_001)}
    ),
    "metadata of long numbers": safetensors({"__metadata__": {"lamnet": "1" * 100000}}),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_raise(tmp_path, content):
    (tmp_path / "model").write_bytes(content)
    assert load_error(tmp_path / "model")


@pytest.mark.parametrize("file_format", ["lamnet", "original"])
def test_truncated_and_altered_files_raise_or_load(tmp_path, file_format):
    path = tmp_path / "model"
    save_checkpoint(build(num_blocks=1), path, format=file_format)
    content = path.read_bytes()
    for end in (1, 8, 9, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:end])
        assert load_error(path)
    generator = torch.Generator().manual_seed(0)
    for position in torch.randint(len(content), (60,), generator=generator).tolist():
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :])
        with contextlib.suppress(CheckpointError):
            load_model(path)  # a changed weight cannot be detected


def test_missing_file_and_folder_raise(tmp_path):
    assert load_error(tmp_path / "nothing.pth") == "no such file"
    assert load_error(tmp_path) == "not a file"


def test_unreadable_file_raises(saved):
    with mock.patch("builtins.open", side_effect=PermissionError(13, "Permission denied")):
        assert load_error(saved) == "cannot be read (Permission denied)"


class Malicious:
    """Object whose pickle creates a folder when unpickled unsafely."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", ["pickle", "zip", "legacy"])
def test_malicious_pickles_not_executed(tmp_path, write):
    path, trace = tmp_path / "model.pth", tmp_path / "trace"
    content = {"params_ema": build().state_dict() | {"extra": Malicious(trace)}}
    if write == "pickle":
        path.write_bytes(pickle.dumps({"params_ema": Malicious(trace)}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=write == "zip")
    message = load_error(path)
    assert "code" in message
    assert "weights_only" not in message  # torch's message advises disabling the protection
    assert not trace.exists()
    pickle.loads(pickle.dumps(Malicious(trace)))
    assert trace.exists(), "the malicious pickle has no effect"


class HugeAllocation:
    """Object whose pickle allocates 64 GiB when PyTorch reads it."""

    def __reduce__(self):
        return bytearray, (1 << 36,)


@pytest.mark.parametrize("write", ["pickle", "zip", "compressed", "legacy"])
def test_allocating_pickles_not_read(tmp_path, monkeypatch, write):
    path = tmp_path / "model.pth"
    data = pickle.dumps({"params": HugeAllocation()}, protocol=2)
    if write == "pickle":
        path.write_bytes(data)
    elif write == "legacy":
        torch.save({"params": build().state_dict()}, path, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes() + data)
    else:
        method = zipfile.ZIP_DEFLATED if write == "compressed" else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("archive/data.pkl", data)
    monkeypatch.setattr(torch, "load", None)
    assert "bytearray" in load_error(path)


def test_zip_bombs_not_read(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "model.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", bytes(20 << 20))
    monkeypatch.setattr(torch, "load", None)
    assert "20,971" in load_error(tmp_path / "model.pth")


def test_compressed_checkpoint_loads(tmp_path):
    torch.save({"params": build().state_dict()}, tmp_path / "stored.pth")
    path = tmp_path / "model.pth"
    with (
        zipfile.ZipFile(tmp_path / "stored.pth") as stored,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in stored.namelist():
            archive.writestr(name, stored.read(name))
    assert_same(load_model(path), build())


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1, 1, 1, 1).expand(1 << 20, 3, 3, 3),
        torch.zeros(8, 3, 3, 3).to_sparse(),
        torch.zeros(8, 3, 3, 3, device="meta"),
    ],
    ids=["expanded", "sparse", "meta"],
)
def test_tensors_without_data_raise(tmp_path, tensor):
    torch.save(build().state_dict() | {"conv_first.weight": tensor}, tmp_path / "model.pth")
    assert load_error(tmp_path / "model.pth") == "tensors must be dense and stored in full"


@pytest.mark.parametrize("content", [{}, {"params": 5}, {"params_ema": {}}, {"a": 1}, {1: torch.zeros(1)}], ids=str)
def test_pickles_without_state_dict_raise(tmp_path, content):
    torch.save(content, tmp_path / "model.pth")
    assert "no state dict" in load_error(tmp_path / "model.pth")


# Metadata


def test_later_format_version_raises(saved):
    message = load_error(rewrite(saved, version=FORMAT_VERSION + 1, config=[], anything=None))
    assert f"format {FORMAT_VERSION + 1}" in message


@pytest.mark.parametrize(
    "metadata",
    [
        {"version": "1"},
        {"version": None},
        {"version": 0},
        {"version": 1.5},
        {"config": 5},
        {"config": "scale"},
        {"config": [["scale", 2]]},
        {"config": None},
        {"training": "long"},
        {"training": [1]},
    ],
    ids=str,
)
def test_metadata_wrong_types_raise(saved, metadata):
    assert load_error(rewrite(saved, **metadata)) == "invalid metadata"


@pytest.mark.parametrize("text", ["5", "null", '"text"', "[]"])
def test_metadata_not_an_object_raises(saved, text):
    save_file(read_checkpoint(saved).state, saved, {"lamnet": text})
    assert load_error(saved) == "invalid metadata"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scale", 3),
        ("scale", "2"),
        ("scale", [2]),
        ("scale", None),
        ("embed_dim", 10**15),
        ("embed_dim", 10**30),
        ("in_chans", 10**12),
        ("num_blocks", 10**9),
        ("depth", 10**9),
        ("num_heads", 4),
        ("window", [[1], [10**9]]),
        ("window", [[10**9], [1]]),
        ("window", "1" * 10000),
        ("gate_layer", None),
        ("gate_layer", "no"),
        ("mlp_layer", "ffn"),
        ("hidden_dim", 10**9),
        ("channel_layer", {}),
        ("device", "cuda"),
        ("color\nspace", "lab"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_metadata_mismatch_raises_before_build(saved, monkeypatch, key, value):
    rewrite(saved, version=1, config=build().config | {key: value})
    monkeypatch.setattr("lamnet_models.checkpoint.LAMNet", None)
    message = load_error(saved)
    assert "metadata" in message
    assert key.partition("\n")[0] in message
    assert len(message) < 300


def test_metadata_partial_config(saved):
    assert_same(load_model(rewrite(saved, version=1, config={"scale": 2})), build())
    assert_same(load_model(rewrite(saved)), build())


# Writing


@pytest.mark.parametrize("file_format", ["lamnet", "original"])
def test_failed_save_keeps_old_file(saved, file_format):
    resource = pytest.importorskip("resource", reason="needs a limit on the size of files")
    old = saved.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(old) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_checkpoint(build(), saved, format=file_format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert saved.read_bytes() == old
    assert list(saved.parent.iterdir()) == [saved]


def test_unserializable_metadata_keeps_old_file(saved):
    old = saved.read_bytes()
    with pytest.raises(TypeError):
        save_checkpoint(build(), saved, training={"data": object()})
    assert saved.read_bytes() == old
    assert list(saved.parent.iterdir()) == [saved]


def test_unknown_format_raises(tmp_path):
    with pytest.raises(ValueError, match=r"^format .*'onnx'"):
        save_checkpoint(build(), tmp_path / "model.onnx", format="onnx")


def test_checkpoint_from_state():
    model = build()
    checkpoint = Checkpoint.from_state({f"module.{key}": t for key, t in to_original(model.state_dict()).items()})
    assert checkpoint.format == "original"
    assert_same(checkpoint.build(), model)
