"""Lookup of pretrained weights, resolved at call time."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import hf_hub_download

from .checkpoint import read_checkpoint
from .errors import CheckpointError, ModelError
from .hub_errors import HUB_ERRORS, describe_hub_error
from .lamnet import LAMNet
from .weights import packaged_weights

WEIGHTS_VARIABLE = "LAMNET_WEIGHTS"
"""Environment variable with a folder of checkpoints, searched before the packaged weights."""

HUB_VARIABLE = "LAMNET_HUB"
"""Environment variable with a Hugging Face repository of ``NAME.TAG.safetensors``, searched last."""

_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".onnx")


def find_weights(name: str, tag: str = "") -> Path:
    """Find the pretrained weights of a model.

    Search order: the folder ``LAMNET_WEIGHTS``, the packaged weights, the Hugging Face repository ``LAMNET_HUB``.

    Args:
        name: Name of the model, such as ``"lamnet_x4"``.
        tag: Tag of the weights; empty for any.

    Returns:
        Path of the checkpoint.

    Raises:
        ModelError: If no weights are found; the message lists the packaged ones.
        CheckpointError: If ``LAMNET_WEIGHTS`` is not a folder, or the download fails.
    """
    if folder := os.environ.get(WEIGHTS_VARIABLE):
        if not Path(folder).is_dir():
            raise CheckpointError(f"{WEIGHTS_VARIABLE} must be a folder, got {folder}")
        patterns = [f"{name}.{tag}.*"] if tag else [f"{name}.safetensors", f"{name}.pth", f"{name}.*.safetensors"]
        for pattern in patterns:
            if matches := sorted(Path(folder).glob(pattern)):
                return matches[0]
    for key, path in packaged_weights().items():
        if key == f"{name}.{tag}" or (not tag and key.startswith(f"{name}.")):
            return path
    if repository := os.environ.get(HUB_VARIABLE):
        return _download(repository, f"{name}.{tag}.safetensors" if tag else f"{name}.safetensors")
    raise ModelError(f"no pretrained weights for {name}{tag and '.'}{tag}; {_describe_packaged_weights()}")


def is_checkpoint_path(source: str | os.PathLike) -> bool:
    """Return whether ``source`` is a file path instead of the name of weights."""
    path = Path(source)
    return isinstance(source, os.PathLike) or path.suffix in _SUFFIXES or path.is_file()


def resolve_weights_path(source: str | os.PathLike) -> Path:
    """Return the path of a checkpoint given by path or by name.

    Args:
        source: Path of a checkpoint, or name of pretrained weights, ``NAME`` or ``NAME.TAG``.

    Raises:
        ModelError: If the weights are not found.
        CheckpointError: If ``LAMNET_WEIGHTS`` is not a folder, or the download fails.
    """
    if is_checkpoint_path(source):
        return Path(source)
    name, _, tag = str(source).partition(".")
    return find_weights(name, tag)


def load_pretrained(model: LAMNet, path: str | os.PathLike) -> None:
    """Load pretrained weights into a model of the same architecture.

    Args:
        model: Model, modified in place.
        path: Checkpoint file.

    Raises:
        CheckpointError: If the file cannot be read or its configuration differs; the message names the arguments that
            differ and lists the packaged weights.
    """
    checkpoint = read_checkpoint(path)
    differences = [
        f"{key}={checkpoint.config[key]} (model: {value})"
        for key, value in model.config.items()
        if checkpoint.config.get(key, value) != value
    ]
    if differences:
        raise CheckpointError(f"{path} has weights for {', '.join(differences)}; {_describe_packaged_weights()}")
    checkpoint.load_into(model)


def _describe_packaged_weights() -> str:
    return f"packaged weights: {', '.join(packaged_weights()) or 'none'}"


def _download(repository: str, file: str) -> Path:
    try:
        return Path(hf_hub_download(repository, file))
    except HUB_ERRORS as error:
        raise CheckpointError(
            f"cannot download {file} from {HUB_VARIABLE}={repository}: {describe_hub_error(error)}"
        ) from None
