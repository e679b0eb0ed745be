"""LAM block, the repeated block of LAMNet, with its norm and residual connections."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .adapters import LayerType, create_layer, register_layer
from .chunking import apply_chunked
from .feed_forward import DGFN
from .fusion import FusedLayer, is_unmodified, run_fused, to_channels_last
from .mixer import ULM
from .validation import check_feature_map, check_int, check_same_shape, refuse_scripting


class ChannelLayerNorm(nn.Module):
    """Layer norm over the channels of each pixel, with biased variance and affine parameters.

    Args:
        dim: Number of channels C.
        eps: Added to the variance.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        (B, C, H, W) → (B, C, H, W), in channels-last memory format.

    Raises:
        ValueError: If ``dim`` is below 1 or the input has the wrong shape.
    """

    def __init__(
        self,
        dim: int,
        eps: float = 1e-5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.dim = check_int("dim", dim, minimum=1)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(dim, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized features, (B, C, H, W)."""
        check_feature_map("x", x, self.dim)
        normalized = F.layer_norm(x.permute(0, 2, 3, 1), (self.dim,), self.weight, self.bias, self.eps)
        return normalized.permute(0, 3, 1, 2)

    __prepare_scriptable__ = refuse_scripting

    def extra_repr(self) -> str:
        """Return channels and eps."""
        return f"{self.dim}, eps={self.eps}"


class ScaledResidual(nn.Module):
    """Scaled residual, ``shortcut + α·branch``, with one α per channel, initialized to 1.

    The original implementation has it, the paper does not.

    Args:
        dim: Number of channels C.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        shortcut and branch, each (B, C, H, W) → (B, C, H, W).

    Raises:
        ValueError: If ``dim`` is below 1 or an input has the wrong shape.
    """

    def __init__(self, dim: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.dim = check_int("dim", dim, minimum=1)
        self.alpha = nn.Parameter(torch.ones(dim, 1, 1, device=device, dtype=dtype))

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        """Return ``shortcut + α·branch``, (B, C, H, W)."""
        check_feature_map("branch", branch, self.dim)
        check_same_shape("shortcut", shortcut, "branch", branch)
        return torch.addcmul(shortcut, self.alpha, branch)

    __prepare_scriptable__ = refuse_scripting


class PreNormResidual(nn.Module):
    """Pre-norm residual sub-block, ``x + α·layer(LN(x))``.

    Args:
        dim: Number of channels C.
        layer: Module (B, C, H, W) → (B, C, H, W). A layer with the attributes ``receptive_radius`` (rows and columns on
            each side that a pixel depends on) and ``peak_channels`` (channels of its widest map) can be chunked.
        device: Device of the norm's parameters and of α.
        dtype: Dtype of those parameters.

    Shape:
        (B, C, H, W) → (B, C, H, W).

    Raises:
        ValueError: If ``dim`` is below 1, or the input or the layer's output has the wrong shape.
    """

    def __init__(
        self,
        dim: int,
        layer: nn.Module,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.norm = ChannelLayerNorm(dim, device=device, dtype=dtype)
        self.layer = layer
        self.residual = ScaledResidual(dim, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x + α·layer(LN(x))``, (B, C, H, W)."""
        out = self._run_fused(x)
        return self.residual(x, self.layer(self.norm(x))) if out is None else out

    def forward_chunked(self, x: Tensor) -> Tensor:
        """Return ``forward(x)``, chunk by chunk for large maps on a CPU if the layer can be chunked.

        A fused kernel takes the whole map: it stores no intermediate map.
        """
        if (out := self._run_fused(x)) is not None:
            return out
        if not hasattr(self.layer, "peak_channels"):
            return self(x)
        return apply_chunked((self,), self, x, self.layer.peak_channels, self.layer.receptive_radius)

    def _run_fused(self, x: Tensor) -> Tensor | None:
        return run_fused(x, self._fused, self, norm=self.norm, residual=self.residual)

    def _fused(self) -> FusedLayer | None:
        children = (self.norm, ChannelLayerNorm), (self.layer, ULM, DGFN), (self.residual, ScaledResidual)
        return self.layer.fused() if all(is_unmodified(*child) for child in children) else None


@register_layer("lam")
class LAMBlock(nn.Module):
    """Linear Adaptive Mixer block: alternating token mixers and feed-forward networks.

    ``depth`` × (ULM sub-block, DGFN sub-block), then ``x + α·y``. Each sub-block is ``x + α·layer(LN(x))``.

    Source: paper, section 3.1 and figure 3.

    Args:
        dim: Number of channels C; a multiple of 8 with the default layers.
        depth: Number of mixers N, each followed by a feed-forward network.
        mixer_layer: Token mixer: a class, a ``functools.partial`` or a name known to
            [`create_layer`][lamnet_layers.create_layer], called with C, ``device`` and ``dtype``.
        mlp_layer: Feed-forward network, likewise.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        (B, C, H, W) → (B, C, H, W), any H, W ≥ 1.

    Raises:
        ValueError: If an argument is out of range or the input has the wrong shape.

    Example:
        >>> attention = partial(FocalSeparableAttention, num_heads=2, window=((1, 2), (3, 3)))
        >>> block = LAMBlock(64, depth=2, mixer_layer=partial(ULM, attn_layer=attention))
        >>> block(torch.randn(1, 64, 20, 30)).shape
        torch.Size([1, 64, 20, 30])
    """

    def __init__(
        self,
        dim: int,
        depth: int = 6,
        mixer_layer: LayerType = ULM,
        mlp_layer: LayerType = DGFN,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        factory = {"device": device, "dtype": dtype}
        layers = [
            PreNormResidual(dim, create_layer(layer, dim, **factory), **factory)
            for _ in range(check_int("depth", depth, minimum=1))
            for layer in (mixer_layer, mlp_layer)
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = ScaledResidual(dim, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """Return the refined features, (B, C, H, W)."""
        features = to_channels_last(x)  # once, not in each layer
        for layer in self.layers:
            # Wrappers, such as for activation checkpointing, and layers put in place of a sub-block are called.
            features = layer.forward_chunked(features) if isinstance(layer, PreNormResidual) else layer(features)
        return self.residual(x, features)
