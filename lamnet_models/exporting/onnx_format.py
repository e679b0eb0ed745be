"""ONNX graphs of standard operators."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import ExportError
from ..integrations.onnxruntime import OnnxNetwork, load_onnx
from ..lamnet import LAMNet


def serialize(model: LAMNet, metadata: dict[str, str], half: bool) -> bytes:
    """Return the contents of the ONNX file of a network.

    Raises:
        ExportError: If the package onnx is missing, or the attention is not supported.
    """
    if model.config["attn_layer"] != "fsa":
        raise ExportError("ONNX export supports attn_layer='fsa' only: use format torch or aoti")
    try:
        from .onnx_network import network_to_onnx
    except ImportError:
        raise ExportError("ONNX export needs the package onnx: pip install 'lamnet[onnx]'") from None
    with torch.no_grad():
        return network_to_onnx(model, metadata, half).SerializeToString()


def write(model: LAMNet, path: Path, metadata: dict[str, str], half: bool) -> None:
    """Write the graph and its weights to one file."""
    path.write_bytes(serialize(model, metadata, half))


def load(path: Path) -> OnnxNetwork:
    """Load a graph in ONNX Runtime, on the CPU."""
    return load_onnx(path)
