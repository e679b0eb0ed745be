"""Ways to enlarge an image, each under a name: our networks, other people's, bicubic interpolation."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..files import file_digest
from ..pretrained import resolve_weights_path
from ..registry import published_name, resolve_model
from ..resize import imresize
from ..upscaling import Upscaler
from .ensemble import SelfEnsemble

BICUBIC = "bicubic"
"""Name of bicubic interpolation among the methods."""

_DEFAULT_SCALE = 4


@dataclass(frozen=True)
class Method:
    """A way to enlarge images.

    Attributes:
        name: Its name, for tables.
        scale: Factor of enlargement.
        enlarge: From (H, W, 3) uint8 to (s·H, s·W, 3) uint8.
        weights: Name or file of its weights; None where it has none.
        weights_sha256: SHA-256 of the file, or for a module of its tensors; None where it has none.
        device: Where it computes.
        variant: Name of the paper's model that it is, None where it is none.
    """

    name: str
    scale: int
    enlarge: Callable[[np.ndarray], np.ndarray]
    weights: str | None = None
    weights_sha256: str | None = None
    device: str = "cpu"
    variant: str | None = None


def open_method(
    model: nn.Module | str | os.PathLike | None,
    scale: int | None = None,
    *,
    tile: int | str = 0,
    device: torch.device | str = "auto",
    precision: str = "fp32",
    self_ensemble: bool = False,
) -> Method:
    """Makes a way to enlarge images ready to run.

    Args:
        model: ``"bicubic"``; a model's name, ``"lamnet_x4"``; the file of a checkpoint, ours, a released one or any
            that spandrel reads (extra ``peers``); any network on (B, 3, H, W) in [0, 1]; None for ``scale``'s model.
        scale: Factor of enlargement: the network's own where it has one; 4 for bicubic interpolation if None.
        tile: See [`Upscaler`][lamnet_models.Upscaler], as for the next two.
        device: Where to compute.
        precision: Type to compute in.
        self_ensemble: Whether to average over eight flips and rotations.

    Raises:
        ValueError: If an argument is out of its range, or the network has another scale.
        LAMNetError: If there is no such model.
    """
    if scale is not None and (not isinstance(scale, int) or scale < 1):
        raise ValueError(f"scale is {scale!r}, but it must be an integer of at least 1")
    if model == BICUBIC:
        if self_ensemble:
            raise ValueError("self_ensemble is for networks: bicubic interpolation is the same for every view")
        scale = scale or _DEFAULT_SCALE
        return Method(BICUBIC, scale, lambda image: imresize(image, scale))
    if model is None:
        model = f"lamnet_x{scale or _DEFAULT_SCALE}"
    network = with_scale(resolve_model(model), scale)
    if isinstance(model, nn.Module):
        name, weights, digest = type(network).__name__, None, _state_digest(network)
        if isinstance(network, Scaled):
            name = type(network.model).__name__
    else:
        path = resolve_weights_path(model)
        name, weights, digest = Path(model).name, path.name, file_digest(path)
    upscaler = Upscaler(
        SelfEnsemble(network) if self_ensemble else network,
        scale=scale,
        tile=tile,
        device=device,
        precision=precision,
    )
    return Method(
        f"{name} (self-ensemble)" if self_ensemble else name,
        upscaler.scale,
        upscaler,
        weights,
        digest,
        str(upscaler.device),
        published_name(network),
    )


class Scaled(nn.Module):
    """A network that does not say its scale, with its scale.

    Args:
        model: A network on (B, 3, H, W) in [0, 1].
        scale: Its factor of enlargement.
    """

    def __init__(self, model: nn.Module, scale: int) -> None:
        super().__init__()
        self.model = model
        self.scale = scale
        self.in_chans = 3

    def forward(self, x: Tensor) -> Tensor:
        """Returns the enlarged images, (B, 3, r·H, r·W).

        Raises:
            ModelError: If the network returns anything else.
        """
        out = self.model(x)
        expected = (len(x), self.in_chans, self.scale * x.shape[2], self.scale * x.shape[3])
        if not isinstance(out, Tensor) or out.shape != expected:
            found = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ModelError(f"the network returns {found} for {tuple(x.shape)}, which at ×{self.scale} is {expected}")
        return out


def with_scale(network: nn.Module, scale: int | None) -> nn.Module:
    """Returns a network that says its scale and channels, as all of ours do.

    Args:
        network: Any network on (B, 3, H, W).
        scale: Its factor of enlargement, where it does not say so itself.

    Raises:
        ValueError: If nobody says it, or the network says another.
    """
    if hasattr(network, "scale") and hasattr(network, "in_chans"):
        return network
    attributes = (getattr(network, name, None) for name in ("scale", "upscale"))
    own = next((value for value in attributes if isinstance(value, int) and value > 1), None)
    if own is None and scale is None:
        raise ValueError(f"scale is missing: {type(network).__name__} does not say how many times it enlarges")
    if None not in (own, scale) and own != scale:
        raise ValueError(f"scale is {scale}, but the model enlarges {own} times")
    return Scaled(network, own or scale)


def _state_digest(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
