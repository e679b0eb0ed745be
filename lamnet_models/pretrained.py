"""Where pretrained weights come from: decided at the call, never at import."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import hf_hub_download

from .checkpoint import read_checkpoint
from .errors import CheckpointError, ModelError
from .hub_errors import HUB_ERRORS, describe_hub_error
from .lamnet import LAMNet

WEIGHTS_VARIABLE = "LAMNET_WEIGHTS"
"""Environment variable: a folder of checkpoints that is searched before the packaged ones."""

HUB_VARIABLE = "LAMNET_HUB"
"""Environment variable: a Hugging Face repository that holds ``NAME.TAG.safetensors``, asked last."""

_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".onnx")

_PACKAGED = Path(__file__).parent / "weights"


def packaged_weights() -> dict[str, Path]:
    """Returns the checkpoints that come with the package, by ``NAME.TAG``, best tag of each name first."""
    return {path.name.removesuffix(".safetensors"): path for path in sorted(_PACKAGED.glob("*.safetensors"))}


def find_weights(name: str, tag: str = "") -> Path:
    """Finds the pretrained weights of a model.

    Looked for in this order: the folder ``LAMNET_WEIGHTS``, the package, and the Hugging Face repository ``LAMNET_HUB``
    if one is configured.

    Args:
        name: Name of the model, such as ``"lamnet_x4"``.
        tag: Which of its weights; any if empty.

    Returns:
        A checkpoint file.

    Raises:
        ModelError: If there are none; the message lists what there is.
        CheckpointError: If ``LAMNET_WEIGHTS`` is not a folder, or the download fails.
    """
    if folder := os.environ.get(WEIGHTS_VARIABLE):
        if not Path(folder).is_dir():
            raise CheckpointError(f"{WEIGHTS_VARIABLE} is {folder}, which is not a folder")
        patterns = [f"{name}.{tag}.*"] if tag else [f"{name}.safetensors", f"{name}.pth", f"{name}.*.safetensors"]
        for pattern in patterns:
            if found := sorted(Path(folder).glob(pattern)):
                return found[0]
    for key, path in packaged_weights().items():
        if key == f"{name}.{tag}" or (not tag and key.startswith(f"{name}.")):
            return path
    if repository := os.environ.get(HUB_VARIABLE):
        return _download(repository, f"{name}.{tag}.safetensors" if tag else f"{name}.safetensors")
    raise ModelError(f"there are no pretrained weights for {name}{tag and '.'}{tag}; {_describe_packaged_weights()}")


def is_checkpoint_path(source: str | os.PathLike) -> bool:
    """Returns whether somebody means a file, and not weights by their name."""
    path = Path(source)
    return isinstance(source, os.PathLike) or path.suffix in _SUFFIXES or path.is_file()


def resolve_weights_path(source: str | os.PathLike) -> Path:
    """Returns the checkpoint file that somebody means.

    Args:
        source: Its path, or the name of a model, with a tag or without, whose pretrained weights are meant.

    Raises:
        ModelError: If there are no such weights.
        CheckpointError: If ``LAMNET_WEIGHTS`` is not a folder, or the download fails.
    """
    if is_checkpoint_path(source):
        return Path(source)
    name, _, tag = str(source).partition(".")
    return find_weights(name, tag)


def load_pretrained(model: LAMNet, path: str | os.PathLike) -> None:
    """Loads pretrained weights into a model of the same architecture.

    Args:
        model: The model, changed in place.
        path: A checkpoint file.

    Raises:
        CheckpointError: If the file cannot be read, or holds a model built with other arguments; the message names them
            and lists what weights there are.
    """
    checkpoint = read_checkpoint(path)
    differences = [
        f"{key}={checkpoint.config[key]} (yours: {own})"
        for key, own in model.config.items()
        if checkpoint.config.get(key, own) != own
    ]
    if differences:
        raise CheckpointError(f"{path} holds weights for {', '.join(differences)}; {_describe_packaged_weights()}")
    checkpoint.load_into(model)


def _describe_packaged_weights() -> str:
    return f"packaged weights: {', '.join(packaged_weights()) or 'none'}"


def _download(repository: str, file: str) -> Path:
    try:
        return Path(hf_hub_download(repository, file))
    except HUB_ERRORS as error:
        raise CheckpointError(
            f"{file} cannot be had from {HUB_VARIABLE}={repository}: {describe_hub_error(error)}"
        ) from None
