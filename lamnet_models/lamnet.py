"""LAMNet: the network, the models of the paper and their registration with timm."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lamnet_layers import DGFN, ULM, FocalSeparableAttention, FocalWindow, LAMBlock, ScaledResidual
from lamnet_layers.validation import check_choice, check_divides, check_feature_map, check_int

from .devices import check_compiler
from .names import VARIANTS, find_local_weights, packaged_weights, split_name

RGB_MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K, as in the published models

LAYER_NAMES: dict[str, tuple[str | None, ...]] = {
    "attn_layer": ("fsa", "mhdlsa"),
    "channel_layer": ("csm", "linear", None),
    "gate_layer": ("iem", None),
    "mlp_layer": ("dgfn", "gdfn", "ffn"),
}
"""Values of [`LAMNet`][lamnet_models.LAMNet]'s layer arguments. The first are those of the paper's network, the others
rows of its table 4. ``"mhdlsa"``, ``"gdfn"`` and ``"ffn"`` are in ``lamnet_models.paper.ablations``."""


class LAMNet(nn.Module):
    """Linear Adaptive Mixer Network for image super-resolution.

    ::

        x − mean ─ Conv3×3 ─┬─ LAM blocks ─ Conv3×3 ─ ·α ─ + ─ Conv3×3 ─ PixelShuffle ─ + mean
                            └──────────────────────────────┘

    Source: Hu and Sun, "Unifying Dimensions: A Linear Adaptive Approach to Lightweight Image Super-Resolution" (2024),
    section 3.1 and figure 3. The defaults are those of ``lamnet_x4``.

    Args:
        scale: Scale factor r, any integer ≥ 1.
        in_chans: Number of image channels. For 3 (RGB), the mean color is subtracted.
        embed_dim: Width C; even, with ``"fsa"`` a multiple of 2·``num_heads``, and with ``"csm"`` of 4.
        num_blocks: Number of LAM blocks G.
        depth: Number of mixers N in each block.
        num_heads: Number of attention heads.
        window: Focal window or pair (strides, steps); None for the attention's default.
        attn_layer: ``"fsa"``, or ``"mhdlsa"``: row FSA → MHDLSA of table 4.
        channel_layer: ``"csm"``, ``"linear"`` (one 1×1 convolution) or None (identity): rows CSM → Linear and
            CSM → None. Here and below, ``"none"`` is None, which ``timm.create_model`` drops.
        gate_layer: ``"iem"``, or None for mixers without exchange between their branches: row IEM → None.
        mlp_layer: ``"dgfn"``, ``"gdfn"`` or ``"ffn"``: rows DGFN → GDFN and DGFN → FFN.
        hidden_dim: Hidden channels of the feed-forward network; None for its default.
        backend: Backend of the aggregation, see [`focal_aggregate`][lamnet_layers.focal_aggregate]. Not stored in
            checkpoints.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        Images (B, in_chans, H, W) in [0, 1] → (B, in_chans, r·H, r·W), near [0, 1] but not clamped; any H, W ≥ 1.

    Raises:
        ValueError: If an argument is out of range or the input has the wrong shape.
    """

    num_classes = 0  # for timm: no classifier

    mean: Tensor

    def __init__(
        self,
        scale: int = 4,
        in_chans: int = 3,
        embed_dim: int = 64,
        num_blocks: int = 4,
        depth: int = 6,
        num_heads: int = 4,
        window: FocalWindow | tuple | None = None,
        attn_layer: str = "fsa",
        channel_layer: str | None = "csm",
        gate_layer: str | None = "iem",
        mlp_layer: str = "dgfn",
        hidden_dim: int | None = None,
        backend: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        scale = check_int("scale", scale, minimum=1)
        in_chans = check_int("in_chans", in_chans, minimum=1)
        embed_dim = check_int("embed_dim", embed_dim, minimum=1)
        num_blocks = check_int("num_blocks", num_blocks, minimum=1)
        depth = check_int("depth", depth, minimum=1)
        num_heads = check_int("num_heads", num_heads, minimum=1)
        layers = {
            "attn_layer": attn_layer,
            "channel_layer": channel_layer,
            "gate_layer": gate_layer,
            "mlp_layer": mlp_layer,
        }
        layers = {name: None if layer == "none" else layer for name, layer in layers.items()}
        for name, layer in layers.items():
            check_choice(name, layer, LAYER_NAMES[name])
        check_divides("embed_dim", embed_dim, "the number of branches", 2)
        if attn_layer == "fsa":
            check_divides("embed_dim", embed_dim, "2·num_heads", 2 * num_heads)
        if channel_layer == "csm":
            check_divides("embed_dim", embed_dim, "the number of branches times the reduction of CSM", 4)
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.scale = scale
        self.in_chans = in_chans
        self.num_features = self.head_hidden_size = embed_dim
        self.grad_checkpointing = False

        if attn_layer == "fsa":
            attention = partial(FocalSeparableAttention, num_heads=num_heads, window=window, backend=backend)
        else:
            attention = _find_ablation(attn_layer, num_heads, window, hidden_dim)
        if mlp_layer == "dgfn":
            mlp = partial(DGFN, hidden_dim=hidden_dim, backend=backend)
        else:
            mlp = _find_ablation(mlp_layer, num_heads, window, hidden_dim)
        channel, gate = layers["channel_layer"], layers["gate_layer"]
        mixer = partial(ULM, attn_layer=attention, channel_layer=channel, gate_layer=gate)
        self.blocks = nn.ModuleList(
            LAMBlock(embed_dim, depth, mixer_layer=mixer, mlp_layer=mlp, **factory) for _ in range(num_blocks)
        )
        self.window: FocalWindow = self.blocks[0].layers[0].layer.spatial.window
        self.config = {
            "scale": scale,
            "in_chans": in_chans,
            "embed_dim": embed_dim,
            "num_blocks": num_blocks,
            "depth": depth,
            "num_heads": num_heads,
            "window": [list(self.window.strides), list(self.window.steps)],
            **layers,
            "hidden_dim": self.blocks[0].layers[1].layer.hidden_dim,
        }
        self.conv_first = nn.Conv2d(in_chans, embed_dim, 3, padding=1, **factory)
        self.conv_body = nn.Conv2d(embed_dim, embed_dim, 3, padding=1, **factory)
        self.residual = ScaledResidual(embed_dim, **factory)
        self.upsample = nn.Sequential(
            nn.Conv2d(embed_dim, in_chans * scale**2, 3, padding=1, **factory), nn.PixelShuffle(scale)
        )
        self.register_buffer("mean", torch.tensor(channel_mean(in_chans), **factory).view(-1, 1, 1), persistent=False)
        self.register_load_state_dict_post_hook(_set_mean)
        self.apply(_init_weights)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enable or disable activation checkpointing of the blocks in training mode."""
        self.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Return the names of the parameters to exclude from weight decay: the residual scales α."""
        return {name for name, _ in self.named_parameters() if name.endswith("residual.alpha")}

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Return timm's patterns of parameter groups: stem, one group per block, tail."""
        return {
            "stem": r"^conv_first",
            "blocks": r"^blocks\.(\d+)",
            "tail": r"^(?:conv_body|residual|upsample)",
        }

    def get_classifier(self) -> None:
        """Return None, as there is no classifier."""

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Do nothing for ``num_classes=0``; raise ValueError otherwise, as there is no classifier."""
        if num_classes:
            raise ValueError(f"num_classes must be 0, as LAMNet has no classifier, got {num_classes!r}")

    def compile_blocks(self) -> LAMNet:
        """Compile the repeated layers in place with ``torch.compile``; all blocks share two graphs.

        Compilation runs at the first forward pass and again at the first with another size. It takes seconds; compiling
        the whole network takes more than a minute. Call it in the mode (training or evaluation) that will be used.

        Returns:
            The network itself.

        Raises:
            LAMNetError: If no working C++ compiler is installed.
        """
        check_compiler()
        # The layers choose their memory layouts; without gradients they are faster than Inductor's choice.
        options = None if self.training else {"layout_optimization": False}
        for block in self.blocks:
            for layer in block.layers:
                layer.compile(options=options)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return the upscaled images, (B, in_chans, r·H, r·W)."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the features before the upsampler, (B, C, H, W)."""
        check_feature_map("x", x, self.in_chans)
        shallow = self.extract(x)
        features = shallow
        for block in self.blocks:
            if self.grad_checkpointing and self.training:
                features = checkpoint(block, features, use_reentrant=False)
            else:
                features = block(features)
        return self._join(shallow, features)

    def forward_head(self, features: Tensor) -> Tensor:
        """Return the upscaled images from the output of ``forward_features``."""
        return self._outside_blocks(self.upsample, features) + self.mean

    def extract(self, x: Tensor) -> Tensor:
        """Return the shallow features, the input of the blocks, (B, C, H, W); receptive radius 1."""
        features = self._outside_blocks(self.conv_first, x - self.mean)
        return features.contiguous(memory_format=torch.channels_last)  # the format of all later layers

    def reconstruct(self, shallow: Tensor, features: Tensor) -> Tensor:
        """Return the upscaled images from shallow features and block output; receptive radius 2."""
        return self.forward_head(self._join(shallow, features))

    def _join(self, shallow: Tensor, features: Tensor) -> Tensor:
        return self.residual(shallow, self._outside_blocks(self.conv_body, features))

    def _outside_blocks(self, module: nn.Module, x: Tensor) -> Tensor:
        # Under autocast to bfloat16 on a CPU, in float32: its 8 bits are too few for images. On GPUs, convolutions in
        # float32 would take much longer.
        autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        if not autocast or x.device.type != "cpu":
            return module(x)
        with torch.autocast("cpu", enabled=False):
            return module(x.to(self.conv_first.weight.dtype))


def channel_mean(in_chans: int) -> tuple[float, ...]:
    """Return the values that a network of this number of image channels subtracts from its input."""
    return RGB_MEAN if in_chans == 3 else (0.0,) * in_chans


def _set_mean(model: LAMNet, _: Any) -> None:
    # State dicts lack the mean, so it is undefined in a model from the meta device.
    weight = model.conv_first.weight
    mean = torch.tensor(channel_mean(model.in_chans), device=weight.device, dtype=weight.dtype)
    model.mean = mean.view(-1, 1, 1)


def _find_ablation(name: str, *arguments: Any) -> Callable[..., nn.Module]:
    from .paper.ablations import find_layer

    return find_layer(name, *arguments)


def _init_weights(module: nn.Module) -> None:
    # As in the original implementation: convolution weights truncated normal with std 0.02, biases 0.
    if isinstance(module, nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _cfg(in_chans: int = 3, **kwargs: Any) -> dict[str, Any]:
    return {
        "num_classes": -1,  # not an argument of the model
        "input_size": (in_chans, 64, 64),
        "mean": (0.0,) * in_chans,  # inputs are in [0, 1]; the network subtracts its own mean
        "std": (1.0,) * in_chans,
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "first_conv": "conv_first",
        "classifier": None,
        "paper_name": "Unifying Dimensions: A Linear Adaptive Approach to Lightweight Image Super-Resolution",
        "license": "apache-2.0",
        **kwargs,
    }


_packaged = packaged_weights()
default_cfgs: dict[str, Any] = {
    **{key: _cfg(file=str(path)) for key, path in _packaged.items()},
    **{name: _cfg() for name in VARIANTS if not any(key.startswith(f"{name}.") for key in _packaged)},
}
"""timm's configurations by ``NAME.TAG``, grouped by name at registration."""


def build_variant(
    name: str, pretrained: bool | str | os.PathLike = False, tag: str = "", features_only: bool = False, **kwargs: Any
) -> LAMNet:
    """Build a model of the paper.

    Args:
        name: Name in [`VARIANTS`][lamnet_models.names.VARIANTS].
        pretrained: Whether to load pretrained weights, or the path of a checkpoint to load.
        tag: Tag of the weights; empty for the newest clean weights.
        features_only: Must be False.
        **kwargs: Arguments of [`LAMNet`][lamnet_models.LAMNet] that override those of the variant, and those that
            ``timm.create_model`` passes.
    """
    if features_only:
        raise ValueError("features_only must be False: call forward_features for LAMNet's single feature map")
    kwargs = VARIANTS[name] | kwargs
    if kwargs.keys() & {"pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"}:  # from timm.create_model
        return _build_with_timm(name, pretrained, **kwargs)
    from .pretrained import find_weights, load_pretrained  # which import this module

    model = LAMNet(**kwargs)
    # As timm.create_model, for timm's save_for_hf.
    model.pretrained_cfg = model.default_cfg = _cfg(model.in_chans, architecture=name, tag=tag)
    model._model_args = {key: value for key, value in model.config.items() if key in kwargs}
    if pretrained:
        path = find_weights(name, tag) if pretrained is True else Path(pretrained)
        load_pretrained(model, path)
        model.pretrained_cfg["file"] = str(path)
    return model


def _build_with_timm(name: str, pretrained: bool, **kwargs: Any) -> LAMNet:
    from timm.models import build_model_with_cfg

    from .pretrained import find_weights, load_pretrained

    cfg = kwargs.get("pretrained_cfg")
    overlay = dict(kwargs.pop("pretrained_cfg_overlay", None) or {})
    # For hf-hub: and local-dir: timm passes a full configuration and loads the weights itself.
    from_timm = cfg is not None and not isinstance(cfg, str)
    tag = ""
    if isinstance(cfg, str):
        _, tag = split_name(f"{name}.{cfg}")
        overlay["tag"] = tag
        if path := find_local_weights(name, tag):
            overlay.setdefault("file", str(path))
        kwargs["pretrained_cfg"] = None  # timm knows only the full tags of packaged weights
    if from_timm:
        overlay["first_conv"] = None  # timm would adapt it again, after _checkpoint_filter_fn
    elif pretrained:
        overlay["file"] = str(overlay.get("file") or find_weights(name, tag))
    model = build_model_with_cfg(
        LAMNet,
        name,
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
    from .checkpoint import Checkpoint, check_state
    from .pretrained import adapt_channels

    state = adapt_channels(Checkpoint.from_state(state).state, model.in_chans)
    check_state(model, state)
    return state


def lamnet_x2(pretrained: bool = False, **kwargs: Any) -> LAMNet:
    """LAMNet for ×2, 828,364 parameters."""
    return build_variant("lamnet_x2", pretrained, **kwargs)


def lamnet_x3(pretrained: bool = False, **kwargs: Any) -> LAMNet:
    """LAMNet for ×3, 837,019 parameters."""
    return build_variant("lamnet_x3", pretrained, **kwargs)


def lamnet_x4(pretrained: bool = False, **kwargs: Any) -> LAMNet:
    """LAMNet for ×4, 849,136 parameters."""
    return build_variant("lamnet_x4", pretrained, **kwargs)


def lamnet_large_x2(pretrained: bool = False, **kwargs: Any) -> LAMNet:
    """LAMNet-large for ×2, 1,024,028 parameters."""
    return build_variant("lamnet_large_x2", pretrained, **kwargs)


def lamnet_large_x3(pretrained: bool = False, **kwargs: Any) -> LAMNet:
    """LAMNet-large for ×3, 1,032,683 parameters."""
    return build_variant("lamnet_large_x3", pretrained, **kwargs)


def lamnet_large_x4(pretrained: bool = False, **kwargs: Any) -> LAMNet:
    """LAMNet-large for ×4, 1,044,800 parameters."""
    return build_variant("lamnet_large_x4", pretrained, **kwargs)


def register_with_timm() -> None:
    """Register the models with timm. This imports torchvision, which takes seconds."""
    global default_cfgs
    from timm.models import generate_default_cfgs, register_model

    default_cfgs = generate_default_cfgs(default_cfgs)  # read by register_model
    for model in (lamnet_x2, lamnet_x3, lamnet_x4, lamnet_large_x2, lamnet_large_x3, lamnet_large_x4):
        register_model(model)
