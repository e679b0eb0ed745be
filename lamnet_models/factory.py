"""Models by name, path or module; variants of the published models by KEY=VALUE settings."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .checkpoint import load_model
from .errors import CheckpointError, ModelError
from .lamnet import LAYER_NAMES, LAMNet, build_variant
from .names import VARIANTS, check_weights, find_variant, is_checkpoint_path, split_name
from .pretrained import find_weights, interpolate_weights, translate_hub_errors


def create_model(name: str, pretrained: bool | str | os.PathLike = False, **kwargs: Any) -> LAMNet:
    """Create a model by name, in evaluation mode if it is pretrained.

    Args:
        name: Model name with or without a tag (``"lamnet_x4"``, ``"lamnet_x4.clean_v4"``; ``"lamnet_x4.clean"`` for the
            newest version), or a timm source: ``"local-dir:FOLDER"``, ``"hf-hub:ORGANIZATION/NAME"``.
        pretrained: Whether to load the weights found by [`find_weights`][lamnet_models.pretrained.find_weights], or the
            path of a checkpoint to load.
        **kwargs: Arguments of [`LAMNet`][lamnet_models.LAMNet] that override those of the published model.

    Returns:
        The model, on the CPU.

    Raises:
        ModelError: If the name is unknown or the model has no weights.
        CheckpointError: If the weights cannot be read or do not match the model.
        HubError: If a hub cannot be reached, or the source is not a model in timm's format.
        ValueError: If an argument is out of range.
    """
    if ":" in name:
        model = _create_from_source(name, pretrained, **kwargs)
    else:
        variant, tag = split_name(name)
        model = build_variant(variant, pretrained, tag, **kwargs)
    return model.eval() if pretrained else model


def _create_from_source(name: str, pretrained: bool | str | os.PathLike, **kwargs: Any) -> LAMNet:
    import timm  # seconds

    if isinstance(pretrained, str | os.PathLike):
        kwargs["pretrained_cfg_overlay"] = {"file": str(pretrained)}
    with translate_hub_errors(name):
        model = timm.create_model(name, pretrained=bool(pretrained), **kwargs)
    if not isinstance(model, LAMNet):
        raise ModelError(f"{name} must be a LAMNet, got {type(model).__name__}")
    return model


def resolve_model(
    model: nn.Module | str | os.PathLike, *, weights: str | None = None, strength: float | None = None
) -> nn.Module:
    """Return the network given as a module, checkpoint file or name of a pretrained model.

    Args:
        model: Network, returned unchanged; path of a LAMNet checkpoint or, with the extra ``peers``, of a checkpoint
            that spandrel supports; path of an exported ``.onnx`` file, with the extra ``onnx``; or name as for
            [`create_model`][lamnet_models.create_model].
        weights: ``"clean"`` or ``"photo"``, see [`Upscaler`][lamnet_models.Upscaler].
        strength: Strength of the photo weights, 0 to 1, see [`Upscaler`][lamnet_models.Upscaler].

    Raises:
        ValueError: If ``weights`` or ``strength`` is out of range, or passed without a model name.
        ModelError: If the name is unknown or the model has no such weights.
        CheckpointError: If the checkpoint cannot be read.
    """
    purpose, strength = check_weights(model, weights, strength)
    if isinstance(model, nn.Module):
        return model
    if is_checkpoint_path(model):
        return _load_file(Path(model))
    if purpose is None:
        return create_model(model, pretrained=True)
    network = create_model(f"{model}.{purpose}", pretrained=True)
    if strength < 1:
        first, second = (find_weights(model, tag) for tag in ("clean", purpose))
        interpolate_weights(first, second, strength).load_into(network)
    return network


def published_name(model: nn.Module) -> str | None:
    """Return the name of the paper's model with the configuration of ``model``, or None."""
    if not isinstance(model, LAMNet):
        return None
    name = find_variant(model.scale, model.config["num_blocks"])
    if name is None or build_variant(name, device="meta").config != model.config:
        return None
    return name


def _load_file(path: Path) -> nn.Module:
    if path.suffix == ".onnx":
        from .integrations.onnxruntime import load_onnx

        return load_onnx(path)
    try:
        return load_model(path)
    except CheckpointError as error:
        if not path.is_file():
            raise
        try:
            from .integrations.spandrel import load_peer
        except ImportError:
            hint = "other architectures need spandrel: pip install 'lamnet[peers]'"
            raise CheckpointError(f"{error}; {hint}") from None
        try:
            return load_peer(path)
        except CheckpointError as peer_error:
            raise CheckpointError(f"{error}; {str(peer_error).removeprefix(f'{path}: ')}") from None


# Variants of the published models


_SETTING_TYPES: dict[str, type | tuple[str | None, ...]] = {
    "scale": int,
    "in_chans": int,
    "embed_dim": int,
    "num_blocks": int,
    "depth": int,
    "num_heads": int,
    "window.strides": list,
    "window.steps": list,
    **LAYER_NAMES,
    "hidden_dim": int,
}

SETTINGS = tuple(_SETTING_TYPES)
"""Keys of settings: arguments of [`LAMNet`][lamnet_models.LAMNet], with the window split in two."""


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Parse settings such as ``"embed_dim=48"`` or ``"window.strides=1,2"``.

    Args:
        texts: Settings ``KEY=VALUE``, with KEY in [`SETTINGS`][lamnet_models.factory.SETTINGS].

    Returns:
        Values by key.

    Raises:
        ModelError: If a setting is not KEY=VALUE, its key is unknown or repeated, or its value is invalid.
    """
    values: dict[str, Any] = {}
    for text in texts:
        key, sign, value = (part.strip() for part in text.partition("="))
        if not sign:
            raise ModelError(f"settings must be KEY=VALUE, such as embed_dim=48 or window.strides=1,2, got {text!r}")
        if key not in _SETTING_TYPES:
            near = difflib.get_close_matches(key, _SETTING_TYPES, n=1)
            hint = f"did you mean {near[0]}? Available:" if near else "available:"
            raise ModelError(f"unknown setting {key!r}: {hint} {', '.join(SETTINGS)}")
        if key in values:
            raise ModelError(f"{key} is set twice")
        values[key] = _parse(key, value, _SETTING_TYPES[key])
    return values


def create_variant(name: str, settings: Mapping[str, Any], **kwargs: Any) -> LAMNet:
    """Create a variant of a published model.

    Args:
        name: Name of the published model, as for [`create_model`][lamnet_models.create_model].
        settings: Values that differ, by the keys of [`SETTINGS`][lamnet_models.factory.SETTINGS]. If only one part of
            the window is set, the other is the published one.
        **kwargs: Further arguments of [`create_model`][lamnet_models.create_model].

    Raises:
        ModelError: If the name is unknown or a setting is out of range.
        CheckpointError: If weights are requested and do not match.
    """
    arguments = {key: value for key, value in settings.items() if not key.startswith("window.")}
    try:
        rings = {key: settings[f"window.{key}"] for key in ("strides", "steps") if f"window.{key}" in settings}
        if rings:
            base = create_model(name, device=torch.device("meta"), attn_layer=settings.get("attn_layer", "fsa")).window
            arguments["window"] = (rings.get("strides", base.strides), rings.get("steps", base.steps))
        return create_model(name, **kwargs, **arguments)
    except ValueError as error:
        raise ModelError(f"cannot build {name}: {error}") from None
    except (RuntimeError, MemoryError) as error:  # from torch, for sizes beyond memory
        reason = str(error).partition("\n")[0] or "out of memory"
        raise ModelError(f"cannot build {name}: {reason}") from None


def format_settings(arguments: Mapping[str, Any]) -> str:
    """Format arguments of [`LAMNet`][lamnet_models.LAMNet] as settings, separated by spaces."""
    return " ".join(f"{key}={format_value(value)}" for key, value in _flat(arguments).items())


def nearest_published(model: LAMNet) -> tuple[str, dict[str, tuple[Any, Any]]]:
    """Return the published model with the fewest differing settings, and the differences.

    Only models of the same scale are considered, if one exists.

    Args:
        model: Any LAMNet.

    Returns:
        The published model's name, and the pairs (value of the model, published value) that differ, by the keys of
        [`SETTINGS`][lamnet_models.factory.SETTINGS].
    """
    values, differences = _flat(model.config), {}
    for name in [name for name, args in VARIANTS.items() if args["scale"] == model.scale] or VARIANTS:
        published = _flat(_published_config(name))
        differences[name] = {key: (value, published[key]) for key, value in values.items() if value != published[key]}
    return min(differences.items(), key=lambda item: len(item[1]))


@cache
def _published_config(name: str) -> dict[str, Any]:
    return build_variant(name, device="meta").config


def _flat(arguments: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in arguments.items():
        if key == "window":
            flat |= {f"window.{part}": list(side) for part, side in zip(("strides", "steps"), value, strict=True)}
        else:
            flat[key] = value
    return flat


def format_value(value: Any) -> str:
    """Format the value of a setting, such as ``"1,2,4"`` or ``"none"``."""
    if value is None:
        return "none"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _parse(key: str, text: str, setting_type: type | tuple[str | None, ...]) -> Any:
    if isinstance(setting_type, tuple):
        choices = {format_value(choice): choice for choice in setting_type}
        if text in choices:
            return choices[text]
        near = difflib.get_close_matches(text, choices, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ModelError(f"{key} must be one of {', '.join(choices)}, got {text!r}{hint}")
    try:
        return [int(part) for part in text.split(",")] if setting_type is list else int(text)
    except ValueError:
        expected = "integers separated by commas, such as 1,2,4" if setting_type is list else "an integer"
        raise ModelError(f"{key} must be {expected}, got {text!r}") from None
