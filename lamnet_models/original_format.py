"""Conversion of state dicts between LAMNet and the format of the original implementation."""

from __future__ import annotations

import re

from torch import Tensor

from .errors import CheckpointError

# LAMNet's key: original key. {i} is a block, {m} a mixer sub-block, {f} a feed-forward sub-block, {g} the number of
# blocks, {p} weight or bias.
_NAMES = {
    "conv_first.{p}": "shallow_feature_extraction.{p}",
    "conv_body.{p}": "deep_feature_extraction.{g}.{p}",
    "residual.alpha": "alpha",
    "upsample.0.{p}": "upsample.0.{p}",
    "blocks.{i}.residual.alpha": "deep_feature_extraction.{i}.alpha",
}
_SUB_BLOCK_NAMES = {"residual.alpha": "alpha", "norm.weight": "norm.alpha", "norm.bias": "norm.beta"}
_MIXER_NAMES = _SUB_BLOCK_NAMES | {
    "layer.proj_in.{p}": "fn.proj_in.{p}",
    "layer.channel.reduce.{p}": "fn.channel_branch.0.{p}",
    "layer.channel.expand.{p}": "fn.channel_branch.2.{p}",
    "layer.channel.{p}": "fn.channel_branch.{p}",
    "layer.spatial.cells": "fn.kernel_map",
    "layer.spatial.horizontal.depthwise.{p}": "fn.h_kernel.0.{p}",
    "layer.spatial.horizontal.pointwise.{p}": "fn.h_kernel.1.{p}",
    "layer.spatial.vertical.depthwise.{p}": "fn.v_kernel.0.{p}",
    "layer.spatial.vertical.pointwise.{p}": "fn.v_kernel.1.{p}",
    "layer.proj_out.{p}": "fn.proj_out.{p}",
}
_FEED_FORWARD_NAMES = _SUB_BLOCK_NAMES | {
    "layer.proj_in.{p}": "fn.project_in.{p}",
    "layer.depthwise.{p}": "fn.dwconv.{p}",
    "layer.proj_out.{p}": "fn.project_out.{p}",
}
for _names, _j in ((_MIXER_NAMES, "{m}"), (_FEED_FORWARD_NAMES, "{f}")):
    for _key, _original in _names.items():
        _NAMES[f"blocks.{{i}}.layers.{_j}.{_key}"] = f"deep_feature_extraction.{{i}}.mixers.{_j}.{_original}"

_PARTS = {"i": r"\d+", "g": r"\d+", "m": r"\d*[02468]", "f": r"\d*[13579]", "p": "weight|bias"}


def _rules(names: dict[str, str]) -> list[tuple[re.Pattern, str]]:
    """Return for each name a pattern that matches it and the template of its counterpart."""
    groups = {part: f"(?P<{part}>{pattern})" for part, pattern in _PARTS.items()}
    return [(re.compile(name.replace(".", r"\.").format(**groups)), template) for name, template in names.items()]


_TO_ORIGINAL = _rules(_NAMES)
_FROM_ORIGINAL = _rules({original: key for key, original in _NAMES.items()})


def is_original(state: dict[str, Tensor]) -> bool:
    """Return whether a state dict is in the original format."""
    return any(key.startswith(("shallow_feature_extraction.", "deep_feature_extraction.")) for key in state)


def from_original(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert a state dict from the original format.

    Unknown and duplicate keys are kept unchanged, so that the loader can report them.
    """
    renamed = {}
    for key, tensor in state.items():
        name = _rename(key, _FROM_ORIGINAL)
        if name is None or name in renamed:
            name = key
        if tensor.dim() == 4 and name.endswith("residual.alpha"):
            tensor = tensor.flatten(0, 1)
        elif tensor.dim() == 4 and ".norm." in name:
            tensor = tensor.flatten()
        renamed[name] = tensor
    return renamed


def to_original(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert a state dict to the original format, the inverse of ``from_original``.

    Raises:
        CheckpointError: If the original format cannot represent a key.
    """
    num_blocks = len({key.split(".")[1] for key in state if key.startswith("blocks.")})
    renamed = {}
    for key, tensor in state.items():
        name = _rename(key, _TO_ORIGINAL, g=num_blocks)
        if name is None:
            raise CheckpointError(f"the original format cannot represent {key}: use format='lamnet'")
        if name.endswith(("alpha", "beta")):
            tensor = tensor.reshape(1, -1, 1, 1)
        renamed[name] = tensor
    return renamed


def _rename(key: str, rules: list[tuple[re.Pattern, str]], **parts: int) -> str | None:
    for pattern, template in rules:
        if match := pattern.fullmatch(key):
            return template.format(**(parts | match.groupdict()))
    return None
