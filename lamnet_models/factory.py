"""Models by name, path or module."""

from __future__ import annotations

import difflib
import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import nn

from .checkpoint import load_model
from .errors import CheckpointError, ModelError
from .hub_errors import translate_hub_errors
from .lamnet import VARIANTS, LAMNet, build_variant, find_variant
from .pretrained import is_checkpoint_path
from .weights import packaged_weights


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """List the models of the paper.

    Args:
        pattern: Shell-style pattern of names.
        pretrained: Whether to list the packaged weights, as ``NAME.TAG``, instead.
    """
    return sorted(name for name in (packaged_weights() if pretrained else VARIANTS) if fnmatchcase(name, pattern))


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


def split_name(name: str) -> tuple[str, str]:
    """Return the name in [`VARIANTS`][lamnet_models.lamnet.VARIANTS] and the tag, empty if there is none.

    Raises:
        ModelError: If the model, or with a tag its packaged weights, do not exist.
    """
    variant, _, tag = name.partition(".")
    if variant not in VARIANTS:
        near = difflib.get_close_matches(variant, VARIANTS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"available: {', '.join(VARIANTS)}"
        raise ModelError(f"no model named {variant!r}: {hint}")
    if tag and name not in packaged_weights():
        tags = [key for key in packaged_weights() if key.startswith(f"{variant}.")]
        raise ModelError(f"no weights named {name!r}; packaged for {variant}: {', '.join(tags) or 'none'}")
    return variant, tag
