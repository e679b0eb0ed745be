"""Lookup of pretrained weights, and one-line errors of the Hugging Face hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError

from .checkpoint import read_checkpoint
from .errors import CheckpointError, HubError, LAMNetError, ModelError, collapse_whitespace
from .lamnet import LAMNet
from .names import is_checkpoint_path, packaged_weights

WEIGHTS_VARIABLE = "LAMNET_WEIGHTS"
"""Environment variable with a folder of checkpoints, searched before the packaged weights."""

HUB_VARIABLE = "LAMNET_HUB"
"""Environment variable with a Hugging Face repository of ``NAME.TAG.safetensors``, searched last."""


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
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, file))
    except HUB_ERRORS as error:
        raise CheckpointError(
            f"cannot download {file} from {HUB_VARIABLE}={repository}: {describe_hub_error(error)}"
        ) from None


# Errors of the Hugging Face hub


# The bases of HfHubHTTPError are the errors of the HTTP library, which differs between versions.
HUB_ERRORS = (OSError, EntryNotFoundError, HFValidationError, *HfHubHTTPError.__bases__)
"""Errors raised by hub access, including network errors."""

_LOGIN = "set HF_TOKEN to a token with access, or run hf auth login"


def describe_hub_error(error: Exception) -> str:
    """Return a one-line message with the remedy."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, HFValidationError):
        return "the repository name must be ORGANIZATION/NAME"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set: unset it"
    if isinstance(error, LocalTokenNotFoundError):
        return f"not logged in: {_LOGIN}"
    if isinstance(error, GatedRepoError):
        return f"access must be granted by the owner: {_LOGIN}"
    if isinstance(error, RevisionNotFoundError):
        return "revision not found in the repository"
    if status in (401, 403) and not isinstance(error, RepositoryNotFoundError):
        return f"access denied ({status}): {_LOGIN}"
    if isinstance(error, RepositoryNotFoundError):
        return f"repository not found, or private: {_LOGIN}"
    if isinstance(error, LocalEntryNotFoundError):
        return "the hub cannot be reached, and the file is not in the cache"
    if isinstance(error, EntryNotFoundError):
        return "file not found in the repository"
    return collapse_whitespace(error)[:200] or type(error).__name__


@contextmanager
def translate_hub_errors(name: str) -> Iterator[None]:
    """Translate errors of loading a model in timm's format, from a hub or folder, to HubError.

    Args:
        name: Name of the model, for the error message.

    Raises:
        HubError: For all errors other than LAMNetError.
    """
    try:
        yield
    except LAMNetError:
        raise
    except HUB_ERRORS as error:
        raise HubError(f"cannot load {name}: {describe_hub_error(error)}") from None
    except (RuntimeError, SafetensorError, KeyError, TypeError, ValueError, AssertionError) as error:
        reason = collapse_whitespace(error)[:200]
        raise HubError(
            f"{name} is not a model in timm's format, or damaged ({type(error).__name__}: {reason})"
        ) from None
