"""ONNX: a graph of standard operators, which runs wherever somebody has written a runtime."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import ExportError
from ..integrations.onnxruntime import OnnxNetwork, load_onnx
from ..lamnet import LAMNet


def serialize(model: LAMNet, metadata: dict[str, str], half: bool) -> bytes:
    """Returns what an ONNX file of a network holds.

    Raises:
        ExportError: If the package onnx is missing, or the attention has no graph.
    """
    if model.config["attention"] != "fsa":
        raise ExportError("ONNX is written for focal separable attention alone: take --format torch or aoti")
    try:
        from .onnx_network import network_to_onnx
    except ImportError:
        raise ExportError("writing ONNX needs the package onnx: pip install 'lamnet[onnx]'") from None
    with torch.no_grad():
        return network_to_onnx(model, metadata, half).SerializeToString()


def write(model: LAMNet, path: Path, metadata: dict[str, str], half: bool) -> None:
    """Writes the graph, weights and all in one file."""
    path.write_bytes(serialize(model, metadata, half))


def load(path: Path) -> OnnxNetwork:
    """Returns what a graph computes in ONNX Runtime on the CPU."""
    return load_onnx(path)
