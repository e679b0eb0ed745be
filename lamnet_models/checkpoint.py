"""Checkpoints: our safetensors files, and the released network's pickles, read and written."""

from __future__ import annotations

import json
import os
import reprlib
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lamnet_layers import FocalWindow

from .architecture import add_missing_cells, infer_config
from .errors import CheckpointError
from .files import atomic_path
from .lamnet import LAMNet
from .pickles import check_pickle
from .released import from_original, is_original, to_original

FORMAT_VERSION = 1
"""Version of what stands in the metadata of our files; a reader refuses files of a later one."""

_METADATA_KEY = "lamnet"
_MAX_TENSORS = 20_000  # a LAMNet of the paper has about 1,000


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        state: State dict under our names, on the CPU, in the types of the file.
        config: Arguments of [`LAMNet`][lamnet_models.LAMNet].
        training: Facts about the training, as the file tells them: data, recipe, steps, hardware …
        format: ``"lamnet"`` or ``"released"``: whose names the file has.
    """

    state: dict[str, Tensor]
    config: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    format: str = "lamnet"

    @classmethod
    def from_state(cls, state: dict[str, Tensor], metadata: dict[str, Any] | None = None) -> Checkpoint:
        """Returns the checkpoint that a state dict makes, whoever's names it has.

        Args:
            state: State dict with our names or the released network's, with or without the prefix ``module.``.
            metadata: What came with it: facts about the training, and the configuration, with which the weights, off
                whose shapes it is read too, must agree.

        Raises:
            CheckpointError: If the state dict is not a LAMNet's, or its metadata another's.
        """
        metadata = metadata or {}
        state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
        released = is_original(state)
        if released:
            state = from_original(state)
        config = infer_config(state)
        contradictions = [
            f"{reprlib.repr(key)} is {reprlib.repr(value)} instead of {config.get(key, 'nothing')}"
            for key, value in metadata.get("config", {}).items()
            if key not in config or config[key] != value
        ]
        if contradictions:
            raise CheckpointError(f"its metadata contradicts its weights: {_shorten(contradictions)}")
        if released:
            state = add_missing_cells(state, FocalWindow.of(config["window"]))
        return cls(state, config, metadata.get("training", {}), "released" if released else "lamnet")

    def build(self) -> LAMNet:
        """Builds the model, in evaluation mode on the CPU, in float32.

        Raises:
            CheckpointError: If the configuration is not a LAMNet's, or the weights do not fit it.
        """
        try:
            # Compared without memory first, so that a file that lies about sizes costs none.
            check_state(LAMNet(**self.config, device="meta"), self.state)
            model = LAMNet(**self.config)
        except (RuntimeError, ValueError) as error:  # torch's, for sizes beyond its range, or ours
            reason = str(error).partition("\n")[0]
            raise CheckpointError(f"not a LAMNet's configuration: {reason}") from None
        self.load_into(model)
        return model.eval()

    def load_into(self, model: LAMNet) -> None:
        """Loads the weights into a model of the same architecture, changed in place.

        Raises:
            CheckpointError: If they do not fit: the message names keys that are missing, unexpected or misshapen, or of
                another window.
        """
        check_state(model, self.state)
        model.load_state_dict(self.state)


def read_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Reads a checkpoint: safetensors, or a pickle with a state dict under ``params_ema``, ``params`` or at its top.

    Both may have our names or the released network's, with or without the prefix ``module.``; no code in them is run.

    Args:
        path: The file.

    Raises:
        CheckpointError: If the file is missing, damaged or not a LAMNet's.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    try:
        with open(path, "rb") as file:
            is_safetensors = file.read(9)[8:] == b"{"  # its header is JSON, after eight bytes of length
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    state, metadata = _read_safetensors(path) if is_safetensors else (_read_pickle(path), {})
    try:
        return Checkpoint.from_state(state, metadata)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def load_model(path: str | os.PathLike) -> LAMNet:
    """Builds the model that a checkpoint holds, in evaluation mode on the CPU, in float32.

    Args:
        path: The file; see [`read_checkpoint`][lamnet_models.checkpoint.read_checkpoint].

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
    """Writes a model to a file, which is either whole or not there.

    Args:
        model: The model, on any device.
        path: The file; its folder must exist.
        training: Facts about the training to keep with the weights, JSON-ready.
        format: ``"lamnet"``: safetensors with metadata from which [`load_model`][lamnet_models.load_model] builds the
            model again.
            ``"released"``: a pickle in the released network's format, for the authors' own code; keeps no ``training``.
        half: Whether to round the parameters to half precision, for half the size; they are loaded in single all the
            same.

    Raises:
        CheckpointError: If the model has something that the released format cannot say.
        ValueError: If ``format`` is neither of the two.
        OSError: If the file cannot be written.
    """
    if format not in ("lamnet", "released"):
        raise ValueError(f"format is {format!r}, but it must be 'lamnet' or 'released'")
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    if half:
        state |= {key: state[key].half() for key, _ in model.named_parameters()}
    metadata = {"version": FORMAT_VERSION, "config": model.config, "training": training or {}}
    if format == "released":
        state = to_original(state)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        if format == "released":
            torch.save({"params_ema": state}, file)
        else:
            file.write(save(state, metadata={"format": "pt", _METADATA_KEY: json.dumps(metadata)}))


def check_state(model: LAMNet, state: dict[str, Tensor]) -> None:
    """Raises CheckpointError unless a state dict has exactly the model's keys, shapes and window."""
    own = model.state_dict()
    cells = [list(cell) for cell in model.window.cells]
    problems = {
        "missing": sorted(own.keys() - state.keys()),
        "unexpected": sorted(state.keys() - own.keys()),
        "misshapen": [
            f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
            for key in own
            if key in state and state[key].shape != own[key].shape
        ],
        f"not of the window {model.window.strides}, {model.window.steps}": [
            key
            for key in own
            if key.endswith(".cells") and key in state and state[key].shape == own[key].shape
            if state[key].tolist() != cells
        ],
    }
    found = [f"{kind}: {_shorten(items)}" for kind, items in problems.items() if items]
    if found:
        raise CheckpointError(f"the weights do not fit the model; {'; '.join(found)}")


def _shorten(items: list[str], most: int = 5) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(_one_line(item) for item in items[:most]) + more


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            if (count := len(file.keys())) > _MAX_TENSORS:
                raise CheckpointError(f"{path}: {count:,} tensors are more than any LAMNet has")
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            text = (file.metadata() or {}).get(_METADATA_KEY, "{}")
        metadata = json.loads(text)
    except (SafetensorError, ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({_one_line(error)})") from None
    version = metadata.get("version", FORMAT_VERSION) if isinstance(metadata, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise CheckpointError(f"{path}: written by a later version of LAMNet (format {version}): upgrade to read it")
    if version != FORMAT_VERSION or not all(isinstance(metadata.get(key, {}), dict) for key in ("config", "training")):
        raise CheckpointError(f"{path}: its metadata is damaged")
    return state, metadata


def _read_pickle(path: Path) -> dict[str, Tensor]:
    check_pickle(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch.load raises whatever the bytes lead it to, and advises to run the code in them
        raise CheckpointError(
            f"{path}: neither a safetensors file nor a PyTorch checkpoint of tensors alone; it is damaged, of another "
            "kind, or holds code, which is never run"
        ) from None
    if isinstance(content, dict):
        content = next(
            (content[key] for key in ("params_ema", "params") if isinstance(content.get(key), dict)), content
        )
    is_state = isinstance(content, dict) and content
    if not is_state or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        raise CheckpointError(f"{path}: holds no state dict, neither under params_ema or params nor at its top")
    if not all(_is_plain(tensor) for tensor in content.values()):
        raise CheckpointError(f"{path}: has tensors without the data that their shapes claim")
    return content


def _is_plain(tensor: Tensor) -> bool:
    """Returns whether every element lies in the file: expanded, sparse and meta tensors take more than it holds."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
