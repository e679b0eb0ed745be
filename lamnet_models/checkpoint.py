"""Checkpoint reading and writing: safetensors files and pickles in the original format."""

from __future__ import annotations

import json
import mmap
import os
import re
import reprlib
import warnings
import zipfile
from argparse import Namespace
from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lamnet_layers import FocalWindow

from .errors import CheckpointError, collapse_whitespace
from .filesystem import atomic_path
from .lamnet import LAMNet
from .original_format import from_original, is_original, to_original

FORMAT_VERSION = 1
"""Version of the metadata format; files of later versions are rejected."""

_METADATA_KEY = "lamnet"

_EXPORTED = (".onnx", ".pt2")  # files of ``lamnet export``

# Keys of a pickle that may hold the state dict, in order of preference: averaged weights first.
_STATE_KEYS = ("params_ema", "params", "state_dict_ema", "model_ema", "state_dict", "ema", "model", "model_state_dict")

# Older names of arguments in stored configurations: the current name, and the current values of older values.
_CONFIG_ALIASES: dict[str, tuple[str, dict[Any, str | None]]] = {
    "channels": ("embed_dim", {}),
    "heads": ("num_heads", {}),
    "hidden_channels": ("hidden_dim", {}),
    "attention": ("attn_layer", {}),
    "channel_mixer": ("channel_layer", {"none": None}),
    "exchange": ("gate_layer", {True: "iem", False: None}),
    "feed_forward": ("mlp_layer", {}),
}

_MAX_TENSORS = 20_000  # a LAMNet of the paper has about 1,000


@dataclass(frozen=True)
class Checkpoint:
    """Contents of a checkpoint file.

    Attributes:
        state: State dict with LAMNet's key names, on the CPU, in the dtypes of the file.
        config: Arguments of [`LAMNet`][lamnet_models.LAMNet].
        training: Training metadata of the file: data, recipe, steps, hardware, …
        format: ``"lamnet"`` or ``"original"``, the format of the authors.
    """

    state: dict[str, Tensor]
    config: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    format: str = "lamnet"

    @classmethod
    def from_state(cls, state: dict[str, Tensor], metadata: dict[str, Any] | None = None) -> Checkpoint:
        """Return the checkpoint of a state dict in either format.

        Args:
            state: State dict with the key names of LAMNet or of the original format, with or without a prefix such as
                ``module.``; keys without the prefix are then ignored.
            metadata: Metadata with the optional keys ``training`` and ``config``. ``config`` must match the
                configuration inferred from the weights.

        Raises:
            CheckpointError: If the state dict is not a LAMNet's, or ``config`` does not match it.
        """
        metadata = metadata or {}
        state = _remove_prefix(state)
        original = is_original(state)
        if original:
            state = from_original(state)
        config = infer_config(state)
        mismatches = [
            f"{reprlib.repr(key)} must be {config.get(key, 'absent')}, got {reprlib.repr(value)}"
            for key, value in update_config(metadata.get("config", {})).items()
            if key not in config or config[key] != value
        ]
        if mismatches:
            raise CheckpointError(f"metadata does not match the weights: {_shorten(mismatches)}")
        if original:
            state = add_missing_cells(state, FocalWindow.of(config["window"]))
        return cls(state, config, metadata.get("training", {}), "original" if original else "lamnet")

    def build(self) -> LAMNet:
        """Build the model in evaluation mode, on the CPU, in float32.

        Raises:
            CheckpointError: If the configuration is invalid or the weights do not match it.
        """
        try:
            # Checked on the meta device first: a file with false sizes must not allocate memory.
            check_state(LAMNet(**self.config, device="meta"), self.state)
            model = LAMNet(**self.config)
        except (RuntimeError, ValueError) as error:  # from torch or LAMNet, for sizes out of range
            reason = str(error).partition("\n")[0]
            raise CheckpointError(f"invalid LAMNet configuration: {reason}") from None
        self.load_into(model)
        return model.eval()

    def load_into(self, model: LAMNet) -> None:
        """Load the weights into a model of the same architecture, in place.

        Raises:
            CheckpointError: If keys are missing or unexpected, or shapes or windows differ; the message names the keys.
        """
        check_state(model, self.state)
        model.load_state_dict(self.state)


def update_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return a stored configuration with the current names and values of LAMNet's arguments."""
    current = {}
    for key, value in config.items():
        name, values = _CONFIG_ALIASES.get(key, (key, {}))
        current[name] = values.get(value, value) if isinstance(value, str | bool) else value
    return current


def read_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Read a checkpoint file, safetensors or pickle.

    A pickle holds a state dict under ``params_ema``, ``params``, ``state_dict_ema``, ``model_ema``, ``state_dict``
    (Lightning, timm), ``ema``, ``model``, ``model_state_dict`` or at the top level. Both file types may have the key
    names of LAMNet or of the original format, with or without a prefix such as ``module.``. Code in a pickle is never
    run.

    Args:
        path: Checkpoint file.

    Raises:
        CheckpointError: If the file is missing, damaged or not a LAMNet's.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    if path.suffix in _EXPORTED:
        raise CheckpointError(f"{path}: must be a checkpoint (.safetensors, .pth, .pt or .ckpt), not an exported model")
    try:
        with open(path, "rb") as file:
            is_safetensors = file.read(9)[8:] == b"{"  # eight bytes of header length, then a JSON header
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    state, metadata = _read_safetensors(path) if is_safetensors else (_read_pickle(path), {})
    try:
        return Checkpoint.from_state(state, metadata)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def load_model(path: str | os.PathLike) -> LAMNet:
    """Build the model of a checkpoint file in evaluation mode, on the CPU, in float32.

    Args:
        path: Checkpoint file; see [`read_checkpoint`][lamnet_models.checkpoint.read_checkpoint].

    Raises:
        CheckpointError: If the file is missing, damaged or not a LAMNet's.
    """
    checkpoint = read_checkpoint(path)
    try:
        return checkpoint.build()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def save_checkpoint(
    model: LAMNet,
    path: str | os.PathLike,
    training: dict[str, Any] | None = None,
    format: str = "lamnet",
    half: bool = False,
) -> None:
    """Write a model to a file, atomically.

    Args:
        model: Model, on any device.
        path: Output file; its folder is created if missing.
        training: Training metadata to store with the weights; JSON-serializable.
        format: ``"lamnet"`` writes safetensors with the metadata that [`load_model`][lamnet_models.load_model] needs.
            ``"original"`` writes a pickle in the original format, for the authors' code, without ``training``.
        half: Whether to store the parameters in float16, at half the size. They are loaded as float32.

    Raises:
        CheckpointError: If the original format cannot represent the model.
        ValueError: If ``format`` is unknown.
        OSError: If the file cannot be written.
    """
    if format not in ("lamnet", "original"):
        raise ValueError(f"format must be 'lamnet' or 'original', got {format!r}")
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    if half:
        state |= {key: state[key].half() for key, _ in model.named_parameters()}
    metadata = {"version": FORMAT_VERSION, "config": model.config, "training": training or {}}
    if format == "original":
        state = to_original(state)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        if format == "original":
            torch.save({"params_ema": state}, file)
        else:
            file.write(save(state, metadata={"format": "pt", _METADATA_KEY: json.dumps(metadata)}))


def check_state(model: LAMNet, state: dict[str, Tensor]) -> None:
    """Raise CheckpointError unless a state dict has the model's keys, shapes and window."""
    expected = model.state_dict()
    cells = [list(cell) for cell in model.window.cells]
    problems = {
        "missing": sorted(expected.keys() - state.keys()),
        "unexpected": sorted(state.keys() - expected.keys()),
        "wrong shape": [
            f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
            for key in expected
            if key in state and state[key].shape != expected[key].shape
        ],
        f"window other than {model.window.strides}, {model.window.steps}": [
            key
            for key in expected
            if key.endswith(".cells") and key in state and state[key].shape == expected[key].shape
            if state[key].tolist() != cells
        ],
    }
    messages = [f"{problem}: {_shorten(keys)}" for problem, keys in problems.items() if keys]
    if messages:
        raise CheckpointError(f"the weights do not match the model; {'; '.join(messages)}")


def _shorten(items: list[str], limit: int = 5) -> str:
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(collapse_whitespace(item) for item in items[:limit]) + more


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            if (count := len(file.keys())) > _MAX_TENSORS:
                raise CheckpointError(f"{path}: must have at most {_MAX_TENSORS:,} tensors, got {count:,}")
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            text = (file.metadata() or {}).get(_METADATA_KEY, "{}")
        metadata = json.loads(text)
    except (SafetensorError, ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({collapse_whitespace(error)})") from None
    version = metadata.get("version", FORMAT_VERSION) if isinstance(metadata, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise CheckpointError(f"{path}: written by a later version of LAMNet (format {version}); upgrade to read it")
    if version != FORMAT_VERSION or not all(isinstance(metadata.get(key, {}), dict) for key in ("config", "training")):
        raise CheckpointError(f"{path}: invalid metadata")
    return state, metadata


def _read_pickle(path: Path) -> dict[str, Tensor]:
    check_pickle(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with torch.serialization.safe_globals([Namespace]):  # timm stores its arguments
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch.load raises arbitrary errors, whose messages advise disabling weights_only
        raise CheckpointError(
            f"{path}: must be safetensors or a checkpoint of plain tensors; it is damaged, or contains code, which is "
            "never run"
        ) from None
    if isinstance(content, dict):
        content = next((content[key] for key in _STATE_KEYS if isinstance(content.get(key), dict)), content)
    is_state = isinstance(content, dict) and content
    if not is_state or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        raise CheckpointError(f"{path}: no state dict under {', '.join(_STATE_KEYS)} or at the top level")
    if not all(_is_plain(tensor) for tensor in content.values()):
        raise CheckpointError(f"{path}: tensors must be dense and stored in full")
    return content


def _remove_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the entries of the network without their common prefix, which wrappers add."""
    name = "upsample.0.weight"  # in both formats
    prefix = min((key.removesuffix(name) for key in state if key.endswith(f".{name}")), key=len, default="")
    if name in state or not prefix:
        return state
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}


def _is_plain(tensor: Tensor) -> bool:
    """Return whether the file stores all elements; expanded, sparse and meta tensors do not."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


# Model configuration from a state dict


PUBLISHED_WINDOWS = (FocalWindow(), FocalWindow((1, 2), (3, 3)), FocalWindow((1,), (6,)))
"""Windows of the paper's table 4; their sizes differ."""


def infer_config(state: dict[str, Tensor]) -> dict[str, Any]:
    """Return the arguments of [`LAMNet`][lamnet_models.LAMNet] that match a state dict.

    Args:
        state: State dict with LAMNet's key names (see ``from_original``).

    Raises:
        CheckpointError: If the state dict is not a LAMNet's.
    """
    embed_dim, in_chans = _shape(state, "conv_first.weight", 4)[:2]
    upsampled = _shape(state, "upsample.0.weight", 4)[0]
    scale = isqrt(upsampled // max(in_chans, 1))
    if scale < 1 or scale**2 * in_chans != upsampled:
        raise CheckpointError(
            f"not a LAMNet checkpoint: upsample.0.weight must have scale² · {in_chans} outputs, got {upsampled}"
        )
    mixer, spatial = "blocks.0.layers.0.layer", "blocks.0.layers.0.layer.spatial"
    attn_layer = "mhdlsa" if f"{spatial}.expand.weight" in state else "fsa"
    if attn_layer == "fsa":
        window = _window(state, spatial)
        weights, taps = _shape(state, f"{spatial}.horizontal.pointwise.weight", 4)[0], window.taps
    else:
        window = _square_window(state, spatial)
        weights, taps = _shape(state, f"{spatial}.expand.weight", 4)[0], window.size**2
    if weights % taps:
        raise CheckpointError(f"not a LAMNet checkpoint: {weights} attention weights for a window of {taps} taps")
    mlp_layer, hidden_dim = _mlp_layer(state, "blocks.0.layers.1.layer")
    num_blocks = _count(state, r"blocks\.(\d+)\.")
    depth = (_count(state, r"blocks\.0\.layers\.(\d+)\.") + 1) // 2
    if 2 * num_blocks * depth > len(state):  # limits the model size that a few keys can request
        raise CheckpointError(f"not a LAMNet checkpoint: its {num_blocks} blocks have different depths")
    return {
        "scale": scale,
        "in_chans": in_chans,
        "embed_dim": embed_dim,
        "num_blocks": num_blocks,
        "depth": depth,
        "num_heads": weights // taps,
        "window": [list(window.strides), list(window.steps)],
        "attn_layer": attn_layer,
        "channel_layer": _channel_layer(state, mixer),
        "gate_layer": None if f"{mixer}.without_exchange" in state else "iem",
        "mlp_layer": mlp_layer,
        "hidden_dim": hidden_dim,
    }


def add_missing_cells(state: dict[str, Tensor], window: FocalWindow) -> dict[str, Tensor]:
    """Return a state dict with the window's cells added for each attention without them."""
    cells = torch.tensor(window.cells, dtype=torch.int32)
    suffix = "horizontal.depthwise.weight"
    missing = {f"{key.removesuffix(suffix)}cells": cells for key in state if key.endswith(suffix)}
    return missing | state


def _window(state: dict[str, Tensor], spatial: str) -> FocalWindow:
    size = _shape(state, f"{spatial}.horizontal.depthwise.weight", 4)[3]
    if f"{spatial}.cells" not in state:  # missing in some files of the original format
        for window in PUBLISHED_WINDOWS:
            if window.size == size:
                return window
        raise CheckpointError(
            f"not a LAMNet checkpoint: {spatial}.cells is missing, and no published window has size {size}"
        )
    _shape(state, f"{spatial}.cells", 2)
    try:
        window = FocalWindow.from_cells(state[f"{spatial}.cells"].tolist())
    except ValueError as error:
        raise CheckpointError(f"not a LAMNet checkpoint: {spatial}.cells: {error}") from None
    if window.size != size:
        raise CheckpointError(
            f"not a LAMNet checkpoint: {spatial}.cells has window size {window.size}, the weights have {size}"
        )
    return window


def _square_window(state: dict[str, Tensor], spatial: str) -> FocalWindow:
    radius = _shape(state, f"{spatial}.depthwise.weight", 4)[3] // 2
    return FocalWindow((1,), (radius,)) if radius else FocalWindow((), ())


def _channel_layer(state: dict[str, Tensor], mixer: str) -> str | None:
    if f"{mixer}.channel.reduce.weight" in state:
        return "csm"
    return "linear" if f"{mixer}.channel.weight" in state else None


def _mlp_layer(state: dict[str, Tensor], layer: str) -> tuple[str, int]:
    expanded = _shape(state, f"{layer}.proj_in.weight", 4)[0]
    if f"{layer}.depthwise.weight" not in state:
        return "ffn", expanded
    gated = _shape(state, f"{layer}.proj_out.weight", 4)[1]
    return ("dgfn" if gated == expanded else "gdfn"), expanded // 2


def _shape(state: dict[str, Tensor], name: str, dims: int) -> tuple[int, ...]:
    if name not in state:
        raise CheckpointError(f"not a LAMNet checkpoint: {name} is missing")
    shape = tuple(state[name].shape)
    if len(shape) != dims or 0 in shape:
        raise CheckpointError(f"not a LAMNet checkpoint: {name} has shape {shape}")
    return shape


def _count(state: dict[str, Tensor], pattern: str) -> int:
    return len({match[1] for key in state if (match := re.match(pattern, key))})


# Pickles. torch.load(weights_only=True) runs no code, but allocates any amount of memory that a pickle requests.


_MAX_COMPRESSION = 20  # maximum compression ratio; weights are hardly compressible
_ALWAYS_ALLOWED = 1 << 24  # uncompressed bytes
_MAX_PICKLE_BYTES = 1 << 26
_ALLOCATING_TYPE = b"bytearray"  # allocates any length; state dicts do not use it


def check_pickle(path: Path) -> None:
    """Raise CheckpointError if reading a pickle would take far more memory than its file size."""
    size = os.path.getsize(path)
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
                if unpacked > max(_ALWAYS_ALLOWED, _MAX_COMPRESSION * size):
                    raise CheckpointError(
                        f"{path}: not read: {size:,} bytes unpack to {unpacked:,}, too many for weights"
                    )
                names = [name for name in archive.namelist() if name.endswith(".pkl")]
                pickles = [archive.open(name).read(_MAX_PICKLE_BYTES) for name in names]
        except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError):
            return  # torch.load reports the damage
        allocates = any(_ALLOCATING_TYPE in data for data in pickles)
    elif size:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            allocates = data.find(_ALLOCATING_TYPE) >= 0
    else:
        return
    if allocates:
        raise CheckpointError(f"{path}: not read: contains a bytearray, which could exhaust the memory")
