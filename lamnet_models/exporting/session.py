"""Conversion of a network to ONNX Runtime in memory."""

from __future__ import annotations

import os

from torch import nn

from ..factory import resolve_model
from ..integrations.onnxruntime import OnnxNetwork, open_onnx
from .onnx_format import serialize
from .program import build_metadata, detached_eval_copy


def to_onnxruntime(
    model: nn.Module | str | os.PathLike, *, half: bool = False, threads: int | None = None
) -> OnnxNetwork:
    """Return a network that runs in ONNX Runtime, without an intermediate file.

    Args:
        model: LAMNet, checkpoint file, name of a pretrained model, or exported file.
        half: Whether weights and images are float16; ignored for an exported file.
        threads: Number of threads; None for that of PyTorch.

    Raises:
        ExportError: If the network is not a LAMNet, or the package onnx is missing.
        LAMNetError: If the model is unknown, or ONNX Runtime is missing.
    """
    network = resolve_model(model)
    if isinstance(network, OnnxNetwork):
        return network
    network = detached_eval_copy(network)
    return open_onnx(serialize(network, build_metadata(network, half), half), threads)
