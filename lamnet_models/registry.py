"""Published models, registered with timm, and model creation by name."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from .checkpoint import Checkpoint, check_state, load_model
from .errors import CheckpointError, ModelError
from .hub_errors import translate_hub_errors
from .lamnet import RGB_MEAN, LAMNet
from .names import PUBLISHED, check_name, is_checkpoint_path, packaged_weights
from .pretrained import find_weights, load_pretrained


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        "num_classes": -1,
        "input_size": (3, 64, 64),
        "mean": RGB_MEAN,
        "std": (1.0, 1.0, 1.0),
        "interpolation": "bicubic",
        "first_conv": "conv_first",
        "classifier": None,
        "paper_name": "Unifying Dimensions: A Linear Adaptive Approach to Lightweight Image Super-Resolution",
        "license": "apache-2.0",
        **kwargs,
    }


_packaged = packaged_weights()
default_cfgs = generate_default_cfgs(
    {key: _cfg(file=str(path)) for key, path in _packaged.items()}
    | {name: _cfg() for name in PUBLISHED if not any(key.startswith(f"{name}.") for key in _packaged)}
)


def _create(variant: str, pretrained: bool, **kwargs: Any) -> LAMNet:
    cfg = kwargs.get("pretrained_cfg")
    overlay = dict(kwargs.pop("pretrained_cfg_overlay", None) or {})
    # For hf-hub: and local-dir: timm passes a full configuration and loads the weights itself.
    from_timm = cfg is not None and not isinstance(cfg, str)
    if pretrained and not from_timm:
        overlay["file"] = str(overlay.get("file") or find_weights(variant, cfg or ""))
    model = build_model_with_cfg(
        LAMNet,
        variant,
        pretrained and from_timm,
        pretrained_filter_fn=_checkpoint_filter_fn,
        pretrained_cfg_overlay=overlay,
        kwargs_filter=("num_classes", "global_pool", "img_size"),
        **kwargs,
    )
    if pretrained and not from_timm:
        load_pretrained(model, overlay["file"])
    return model


def _checkpoint_filter_fn(state: dict[str, Tensor], model: LAMNet) -> dict[str, Tensor]:
    state = Checkpoint.from_state(state).state
    check_state(model, state)
    return state


@register_model
def lamnet_x2(pretrained: bool = False, **kwargs: Any) -> LAMNet:
    """LAMNet for ×2, 828,364 parameters."""
    return _create("lamnet_x2", pretrained, **{"scale": 2, **kwargs})


@register_model
def lamnet_x3(pretrained: bool = False, **kwargs: Any) -> LAMNet:
    """LAMNet for ×3, 837,019 parameters."""
    return _create("lamnet_x3", pretrained, **{"scale": 3, **kwargs})


@register_model
def lamnet_x4(pretrained: bool = False, **kwargs: Any) -> LAMNet:
    """LAMNet for ×4, 849,136 parameters."""
    return _create("lamnet_x4", pretrained, **{"scale": 4, **kwargs})


@register_model
def lamnet_large_x2(pretrained: bool = False, **kwargs: Any) -> LAMNet:
    """LAMNet-large for ×2, 1,024,028 parameters."""
    return _create("lamnet_large_x2", pretrained, **{"scale": 2, "num_blocks": 5, **kwargs})


@register_model
def lamnet_large_x3(pretrained: bool = False, **kwargs: Any) -> LAMNet:
    """LAMNet-large for ×3, 1,032,683 parameters."""
    return _create("lamnet_large_x3", pretrained, **{"scale": 3, "num_blocks": 5, **kwargs})


@register_model
def lamnet_large_x4(pretrained: bool = False, **kwargs: Any) -> LAMNet:
    """LAMNet-large for ×4, 1,044,800 parameters."""
    return _create("lamnet_large_x4", pretrained, **{"scale": 4, "num_blocks": 5, **kwargs})


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
    is_external = ":" in name
    if not is_external:
        check_name(name)
    if isinstance(pretrained, str | os.PathLike):
        kwargs["pretrained_cfg_overlay"] = {"file": str(pretrained)}
    with translate_hub_errors(name) if is_external else nullcontext():
        model = timm.create_model(name, pretrained=bool(pretrained), **kwargs)
    if not isinstance(model, LAMNet):
        raise ModelError(f"{name} must be a LAMNet, got {type(model).__name__}")
    return model.eval() if pretrained else model


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
    for name in PUBLISHED:
        if name.endswith(f"_x{model.scale}") and create_model(name, device=torch.device("meta")).config == model.config:
            return name
    return None


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
