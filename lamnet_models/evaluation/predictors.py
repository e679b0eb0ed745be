"""Predictors for evaluation: LAMNet models, peer networks, interpolation."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..devices import resolve_device
from ..errors import ModelError
from ..factory import published_name, resolve_model
from ..filesystem import file_digest
from ..inference import Upscaler
from ..inference.planner import TilePlan
from ..inference.upscaler import UpscaleOutput
from ..names import INTERPOLATIONS, default_model_for_scale, display_name, is_checkpoint_path
from ..pretrained import resolve_weights_path
from ..resize import imresize

_DEFAULT_SCALE = 4


@dataclass(frozen=True)
class Predictor:
    """Function that upscales images, with its provenance.

    Attributes:
        name: Name for tables.
        scale: Scale factor.
        run: (H, W, 3) uint8 → SR image, (s·H, s·W, 3) uint8, with the tile plan and precision that ran.
        weights: File name of the weights, None without a file.
        weights_sha256: SHA-256 of the file, or of a module's tensors; None without weights.
        device: Device it runs on.
        variant: Name of the paper's model with this architecture, None for other networks.
    """

    name: str
    scale: int
    run: Callable[[np.ndarray], UpscaleOutput[np.ndarray]]
    weights: str | None = None
    weights_sha256: str | None = None
    device: str = "cpu"
    variant: str | None = None


def open_predictor(
    model: nn.Module | str | os.PathLike | None,
    scale: int | None = None,
    *,
    tile: int | str = 0,
    device: torch.device | str = "auto",
    precision: str = "fp32",
    self_ensemble: bool = False,
) -> Predictor:
    """Create a predictor from a model, a model name or a checkpoint.

    Args:
        model: ``"bicubic"`` or ``"lanczos"``; a model name such as ``"lamnet_x4"``; a checkpoint file in our format,
            the original format or any that spandrel reads (extra ``peers``); any network on (B, 3, H, W) in [0, 1];
            None for the model of ``scale``.
        scale: Scale factor; by default the network's own, 4 for interpolation.
        tile: Tile side in pixels; see [`Upscaler`][lamnet_models.Upscaler].
        device: Device to compute on; see [`Upscaler`][lamnet_models.Upscaler].
        precision: Computation dtype.
        self_ensemble: Whether to average over eight flips and rotations.

    Raises:
        ValueError: If an argument is out of range, or the network has another scale.
        LAMNetError: If the model is not found.
    """
    if scale is not None and (not isinstance(scale, int) or scale < 1):
        raise ValueError(f"scale must be an integer of at least 1, got {scale!r}")
    if is_interpolation(model):
        if self_ensemble:
            raise ValueError("self_ensemble must be False for interpolation, got True")
        return _open_interpolation(model, scale or _DEFAULT_SCALE)
    if model is None:
        model = default_model_for_scale(scale or _DEFAULT_SCALE)
    network = with_scale(resolve_model(model), scale)
    if not isinstance(model, nn.Module) and device == "auto":
        network = network.to(resolve_device(device))  # where Upscaler leaves it
    if isinstance(model, nn.Module):
        name, weights, digest = type(network).__name__, None, _state_digest(network)
        if isinstance(network, FixedScale):
            name = type(network.model).__name__
    elif not is_checkpoint_path(model) and ":" in model:  # a source of timm
        name, weights, digest = model, None, _state_digest(network)
    else:
        path = resolve_weights_path(model)
        name, weights, digest = display_name(model), path.name, file_digest(path)
    upscaler = Upscaler(
        SelfEnsemble(network) if self_ensemble else network,
        scale=scale,
        tile=tile,
        device=device,
        precision=precision,
    )
    return Predictor(
        f"{name} (self-ensemble)" if self_ensemble else name,
        upscaler.scale,
        upscaler.run,
        weights,
        digest,
        str(upscaler.device),
        published_name(network),
    )


def is_interpolation(model: nn.Module | str | os.PathLike | None) -> bool:
    """Return whether a model is the name of an interpolation method."""
    return isinstance(model, str) and model in INTERPOLATIONS


def _open_interpolation(name: str, scale: int) -> Predictor:
    def run(image: np.ndarray) -> UpscaleOutput[np.ndarray]:
        if name == "bicubic":
            return UpscaleOutput(imresize(image, scale), TilePlan(), "fp64")
        size = (image.shape[1] * scale, image.shape[0] * scale)
        result = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
        return UpscaleOutput(np.array(result), TilePlan(), "int32")

    return Predictor(name, scale, run)


class SelfEnsemble(nn.Module):
    """Average of a network's outputs over the eight flips and rotations of an image.

    Source: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution" (2017), section 3.4.

    Args:
        model: A network on (B, C, H, W) with attributes ``scale`` and ``in_chans``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.scale = model.scale
        self.in_chans = model.in_chans

    def forward(self, x: Tensor) -> Tensor:
        """Return the SR images, (B, C, r·H, r·W)."""
        views = []
        for turns in range(4):
            for mirrored in (False, True):
                view = torch.rot90(x.flip(-1) if mirrored else x, turns, (-2, -1))
                output = torch.rot90(self.model(view), -turns, (-2, -1))
                views.append(output.flip(-1) if mirrored else output)
        return torch.stack(views).mean(dim=0)


class FixedScale(nn.Module):
    """Wrapper that adds ``scale`` and ``in_chans`` to a network without them.

    Args:
        model: A network on (B, 3, H, W) in [0, 1].
        scale: Its scale factor.
    """

    def __init__(self, model: nn.Module, scale: int) -> None:
        super().__init__()
        self.model = model
        self.scale = scale
        self.in_chans = 3

    def forward(self, x: Tensor) -> Tensor:
        """Return the SR images, (B, 3, r·H, r·W).

        Raises:
            ModelError: If the network returns another type or shape.
        """
        out = self.model(x)
        expected = (len(x), self.in_chans, self.scale * x.shape[2], self.scale * x.shape[3])
        if not isinstance(out, Tensor) or out.shape != expected:
            actual = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ModelError(
                f"output of the network at ×{self.scale} must be {expected} for input {tuple(x.shape)}, got {actual}"
            )
        return out


def with_scale(network: nn.Module, scale: int | None) -> nn.Module:
    """Return a network with attributes ``scale`` and ``in_chans``, wrapped if it has none.

    Args:
        network: Any network on (B, 3, H, W).
        scale: Its scale factor, if it has no attribute ``scale`` or ``upscale``.

    Raises:
        ValueError: If the scale is unknown, or differs from the network's own.
    """
    if hasattr(network, "scale") and hasattr(network, "in_chans"):
        return network
    attributes = (getattr(network, name, None) for name in ("scale", "upscale"))
    model_scale = next((value for value in attributes if isinstance(value, int) and value > 1), None)
    if model_scale is None and scale is None:
        raise ValueError(f"scale must be given: {type(network).__name__} has no attribute scale")
    if None not in (model_scale, scale) and model_scale != scale:
        raise ValueError(f"scale must be the model's, {model_scale}, got {scale}")
    return FixedScale(network, model_scale or scale)


def _state_digest(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
