"""From a network to ONNX Runtime, with no file in between."""

from __future__ import annotations

import os

from torch import nn

from ..integrations.onnxruntime import OnnxNetwork, open_onnx
from ..registry import resolve_model
from .onnx_format import serialize
from .program import build_metadata, detached_eval_copy


def to_onnxruntime(
    model: nn.Module | str | os.PathLike, *, half: bool = False, threads: int | None = None
) -> OnnxNetwork:
    """Returns a network that ONNX Runtime computes, without a file in between.

    Args:
        model: A LAMNet, a checkpoint file, the name of a pretrained model, or an exported file.
        half: Whether weights and images are float16; of no effect on an exported file.
        threads: Number of threads; torch's own if None.

    Raises:
        ExportError: If the network is no LAMNet, or the package onnx is missing.
        LAMNetError: If there is no such model, or ONNX Runtime is missing.
    """
    network = resolve_model(model)
    if isinstance(network, OnnxNetwork):
        return network
    network = detached_eval_copy(network)
    return open_onnx(serialize(network, build_metadata(network, half), half), threads)
