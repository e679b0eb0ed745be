"""The published models under their names, registered with timm."""

from __future__ import annotations

import difflib
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
from .pretrained import find_weights, is_checkpoint_path, load_pretrained, packaged_weights

NAMES = tuple(f"lamnet_{size}x{scale}" for size in ("", "large_") for scale in (2, 3, 4))
"""The models of the paper."""


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
    | {name: _cfg() for name in NAMES if not any(key.startswith(f"{name}.") for key in _packaged)}
)


def _create(variant: str, pretrained: bool, **kwargs: Any) -> LAMNet:
    cfg = kwargs.get("pretrained_cfg")
    overlay = dict(kwargs.pop("pretrained_cfg_overlay", None) or {})
    # timm hands over a whole configuration for sources of its own (hf-hub:, local-dir:) and loads from there itself.
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


def list_models(pattern: str = "lamnet*", pretrained: bool = False) -> list[str]:
    """Returns the names of the models of the paper.

    Args:
        pattern: Shell-style pattern that the names match.
        pretrained: Whether to list the packaged weights instead, as ``NAME.TAG``.
    """
    return timm.list_models(pattern, module="registry", pretrained=pretrained)


def create_model(name: str, pretrained: bool | str | os.PathLike = False, **kwargs: Any) -> LAMNet:
    """Creates a model of the paper, in evaluation mode if it is pretrained.

    Args:
        name: Its name, with a tag of its weights or without (``"lamnet_x4"``, ``"lamnet_x4.photos310_v1"``), or one of
            timm's forms for other sources: ``"local-dir:FOLDER"``, ``"hf-hub:ORGANISATION/NAME"``.
        pretrained: Whether to load weights, found by [`find_weights`][lamnet_models.pretrained.find_weights]; or the
            path of a checkpoint to load.
        **kwargs: Arguments of [`LAMNet`][lamnet_models.LAMNet] that differ from the published model's.

    Returns:
        The model, on the CPU.

    Raises:
        ModelError: If there is no model of that name, or no weights for it.
        CheckpointError: If the weights cannot be read or do not fit the model.
        HubError: If a hub cannot be reached, or what is there is no model in timm's form.
        ValueError: If an argument is out of its range.
    """
    is_external = ":" in name
    if not is_external:
        check_name(name)
    if isinstance(pretrained, str | os.PathLike):
        kwargs["pretrained_cfg_overlay"] = {"file": str(pretrained)}
    with translate_hub_errors(name) if is_external else nullcontext():
        model = timm.create_model(name, pretrained=bool(pretrained), **kwargs)
    if not isinstance(model, LAMNet):
        raise ModelError(f"{name} is of the kind {type(model).__name__}, and no LAMNet")
    return model.eval() if pretrained else model


def resolve_model(model: nn.Module | str | os.PathLike) -> nn.Module:
    """Returns the network that somebody means: a module as it is, a checkpoint file's, or a name's pretrained one.

    Args:
        model: A network; the path of a checkpoint, LAMNet's or, with the extra ``peers``, of any architecture that
            spandrel knows; the path of an exported ``.onnx`` file, with the extra ``onnx``; or a name as for
            [`create_model`][lamnet_models.create_model].

    Raises:
        ModelError: If there is no model of that name, or no weights for it.
        CheckpointError: If the checkpoint cannot be read.
    """
    if isinstance(model, nn.Module):
        return model
    if is_checkpoint_path(model):
        return _load_file(Path(model))
    return create_model(model, pretrained=True)


def published_name(model: nn.Module) -> str | None:
    """Returns the name of the paper's model that a network is one of, whatever its weights; None if it is none."""
    if not isinstance(model, LAMNet):
        return None
    for name in NAMES:
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
            hint = "networks of other architectures are read with spandrel: pip install 'lamnet[peers]'"
            raise CheckpointError(f"{error}; {hint}") from None
        try:
            return load_peer(path)
        except CheckpointError as other:
            raise CheckpointError(f"{error}; {other}") from None


def check_name(name: str) -> None:
    """Raises ModelError unless there is a model, and there are weights, of that name."""
    base, _, tag = name.partition(".")
    if base not in NAMES:
        near = difflib.get_close_matches(base, NAMES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(NAMES)}"
        raise ModelError(f"there is no model named {base!r}: {hint}")
    if tag and name not in packaged_weights():
        tags = [key for key in packaged_weights() if key.startswith(f"{base}.")]
        raise ModelError(f"there are no weights {name!r}; packaged for {base}: {', '.join(tags) or 'none'}")
