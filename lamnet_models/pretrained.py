"""Lookup of pretrained weights, and one-line errors of the Hugging Face hub."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
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
from torch import Tensor

from .checkpoint import Checkpoint, read_checkpoint
from .errors import CheckpointError, HubError, LAMNetError, ModelError, collapse_whitespace
from .lamnet import LAMNet, channel_mean
from .names import HUB_VARIABLE, check_weights, find_local_weights, is_checkpoint_path, packaged_weights

_IMAGE_CONVOLUTIONS = ("conv_first.weight", "conv_first.bias", "upsample.0.weight", "upsample.0.bias")


def find_weights(name: str, tag: str = "") -> Path:
    """Find the pretrained weights of a model.

    Search order: the folder ``LAMNET_WEIGHTS``, the packaged weights, the Hugging Face repository ``LAMNET_HUB``.

    Args:
        name: Name of the model, such as ``"lamnet_x4"``.
        tag: Tag of the weights, such as ``"clean_v2"``; a purpose such as ``"photo"`` for its newest version; empty for
            the newest clean weights. See [`find_local_weights`][lamnet_models.names.find_local_weights].

    Returns:
        Path of the checkpoint.

    Raises:
        ModelError: If no weights are found; the message lists the packaged ones.
        CheckpointError: If ``LAMNET_WEIGHTS`` is not a folder, or the download fails.
    """
    if path := find_local_weights(name, tag):
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
        return Path(source).expanduser()
    name, _, tag = str(source).partition(".")
    return find_weights(name, tag)


def load_pretrained(model: LAMNet, path: str | os.PathLike) -> None:
    """Load pretrained weights into a model of the same architecture.

    Only the number of image channels may differ, see [`adapt_channels`][lamnet_models.pretrained.adapt_channels].

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
        if checkpoint.config.get(key, value) != value and key != "in_chans"
    ]
    if differences:
        raise CheckpointError(f"{path} has weights for {', '.join(differences)}; {_describe_packaged_weights()}")
    replace(checkpoint, state=adapt_channels(checkpoint.state, model.in_chans)).load_into(model)


def interpolate_weights(first: str | os.PathLike, second: str | os.PathLike, strength: float) -> Checkpoint:
    """Interpolate all parameters of two checkpoints: ``(1 − strength)·first + strength·second``, in float32.

    The result is useful if one of the checkpoints was fine-tuned from the other, as photo weights from clean ones.

    Args:
        first: Checkpoint file; the result for 0.
        second: Checkpoint file of the same architecture; the result for 1.
        strength: Weight of the second checkpoint, 0 to 1.

    Returns:
        Checkpoint without training metadata. ``build`` returns its model.

    Raises:
        ValueError: If the strength is out of range.
        CheckpointError: If a file cannot be read or the architectures differ.
    """
    check_weights(None, None, strength)
    start, end = read_checkpoint(first), read_checkpoint(second)
    differing = [key for key in start.config if start.config[key] != end.config[key]]
    if differing or {k: t.shape for k, t in start.state.items()} != {k: t.shape for k, t in end.state.items()}:
        reason = ", ".join(differing) or "tensors"
        raise CheckpointError(f"{first} and {second} must have the same architecture, got different {reason}")
    state = {
        key: torch.lerp(tensor.float(), end.state[key].float(), strength) if tensor.is_floating_point() else tensor
        for key, tensor in start.state.items()
    }
    return Checkpoint(state, start.config)


def adapt_channels(state: dict[str, Tensor], in_chans: int) -> dict[str, Tensor]:
    """Adapt weights to another number of image channels, with a warning, see ``adapted_state``."""
    adapted = adapted_state(state, in_chans)
    if adapted is not state:
        base = state["conv_first.weight"].shape[1]
        warnings.warn(f"weights for in_chans={base} adapted to in_chans={in_chans}: fine-tune them", stacklevel=2)
    return adapted


def adapted_state(state: dict[str, Tensor], in_chans: int) -> dict[str, Tensor]:
    """Return weights adapted to another number of image channels.

    The first convolution is adapted as by timm's ``adapt_input_conv``: a single channel gets the sum of the weights;
    several channels get those of the source's channels in turn, scaled to keep their sum. The output convolution gets
    the average, or the weights of the source's channels in turn. The biases of both make up for the mean that the
    network subtracts, which depends on the number of channels; the zero padding of the first convolution does not.

    Args:
        state: State dict with LAMNet's key names.
        in_chans: Number of image channels of the model.

    Returns:
        The state dict; the same if the number is equal or a tensor to adapt is missing.
    """
    base = state["conv_first.weight"].shape[1]
    if in_chans == base or not state.keys() >= set(_IMAGE_CONVOLUTIONS):
        return state
    first, first_bias, last, last_bias = (state[name].double() for name in _IMAGE_CONVOLUTIONS)
    sources = torch.arange(in_chans) % base
    mean, base_mean = (torch.tensor(channel_mean(count)).double() for count in (in_chans, base))

    def adapt_input(weight: Tensor) -> Tensor:
        return weight.sum(1, keepdim=True) if in_chans == 1 else weight[:, sources] * (base / in_chans)

    def adapt_output(values: Tensor) -> Tensor:
        values = values.unflatten(0, (base, -1))  # as PixelShuffle: channels, then positions
        return values.mean(0) if in_chans == 1 else values[sources].flatten(0, 1)

    adapted = adapt_input(first)
    shift = adapted * mean[:, None, None] - adapt_input(first * base_mean[:, None, None])
    positions = len(last_bias) // base
    last_bias = adapt_output(last_bias + base_mean.repeat_interleave(positions)) - mean.repeat_interleave(positions)
    values = (adapted, first_bias + shift.sum((1, 2, 3)), adapt_output(last), last_bias)
    return state | {name: value.float() for name, value in zip(_IMAGE_CONVOLUTIONS, values, strict=True)}


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
