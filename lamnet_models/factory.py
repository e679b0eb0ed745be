"""Models by name, path or module."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import nn

from .checkpoint import load_model
from .errors import CheckpointError, ModelError
from .hub_errors import translate_hub_errors
from .lamnet import LAMNet, build_variant
from .names import find_variant, is_checkpoint_path, split_name


def create_model(name: str, pretrained: bool | str | os.PathLike = False, **kwargs: Any) -> LAMNet:
    """Create a model by name, in evaluation mode if it is pretrained.

    Args:
        name: Model name with or without a tag (``"lamnet_x4"``, ``"lamnet_x4.photos310_v1"``), or a timm source:
            ``"local-dir:FOLDER"``, ``"hf-hub:ORGANIZATION/NAME"``.
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


def resolve_model(model: nn.Module | str | os.PathLike) -> nn.Module:
    """Return the network given as a module, checkpoint file or name of a pretrained model.

    Args:
        model: Network, returned unchanged; path of a LAMNet checkpoint or, with the extra ``peers``, of a checkpoint
            that spandrel supports; path of an exported ``.onnx`` file, with the extra ``onnx``; or name as for
            [`create_model`][lamnet_models.create_model].

    Raises:
        ModelError: If the name is unknown or the model has no weights.
        CheckpointError: If the checkpoint cannot be read.
    """
    if isinstance(model, nn.Module):
        return model
    if is_checkpoint_path(model):
        return _load_file(Path(model))
    return create_model(model, pretrained=True)


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
            raise CheckpointError(f"{error}; {peer_error}") from None
