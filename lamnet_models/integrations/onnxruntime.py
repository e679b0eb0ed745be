"""ONNX Runtime: exported networks, on the CPU, wherever our tools take a network."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import CheckpointError, LAMNetError

if TYPE_CHECKING:
    import onnxruntime


class OnnxNetwork(nn.Module):
    """A network that ONNX Runtime computes, as our tools take networks.

    Args:
        session: What runs it: images (B, C, H, W) in float32 or float16 → larger ones of the same type.
        scale: Factor of enlargement.
        in_chans: Channels of the images.
        num_features: Its width, by which memory is estimated.

    Attributes:
        scale: Factor of enlargement.
        in_chans: Channels of the images.
        num_features: Its width.
    """

    def __init__(self, session: onnxruntime.InferenceSession, scale: int, in_chans: int, num_features: int) -> None:
        super().__init__()
        self.scale, self.in_chans, self.num_features = scale, in_chans, num_features
        self._session = session
        self._input = session.get_inputs()[0]
        self._dtype = np.float16 if self._input.type == "tensor(float16)" else np.float32

    def forward(self, x: Tensor) -> Tensor:
        """Returns the enlarged images, (B, in_chans, r·H, r·W), in the type and on the device of ``x``."""
        image = np.ascontiguousarray(x.detach().cpu().numpy(), dtype=self._dtype)
        try:
            (result,) = self._session.run(None, {self._input.name: image})
        except Exception as error:  # of classes of its own, by no common name
            if "alloc" in str(error).lower():
                raise RuntimeError("ONNX Runtime is out of memory") from None  # as PyTorch says it, for our tools
            raise
        return torch.from_numpy(result).to(x)

    def compile(self, *_: object, **__: object) -> None:
        """Refuses: there is nothing that ``torch.compile`` could see.

        Raises:
            LAMNetError: Always.
        """
        raise LAMNetError("ONNX Runtime runs this network: there is nothing to compile")

    def __deepcopy__(self, memo: dict) -> OnnxNetwork:
        return self  # nothing in it changes


def load_onnx(path: str | os.PathLike, threads: int | None = None) -> OnnxNetwork:
    """Opens an exported file.

    Args:
        path: The file, as [`export`][lamnet_models.export] writes it.
        threads: Number of threads; torch's own if None.

    Raises:
        CheckpointError: If it cannot be read, or is no exported LAMNet.
        LAMNetError: If ONNX Runtime is missing.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        return open_onnx(os.fspath(path), threads)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def open_onnx(source: str | bytes, threads: int | None = None) -> OnnxNetwork:
    """Opens an exported file by its path, or by what it holds.

    Raises:
        CheckpointError: If it cannot be read, or is no exported LAMNet.
        LAMNetError: If ONNX Runtime is missing.
    """
    try:
        import onnxruntime
    except ImportError:
        raise LAMNetError("ONNX models run in ONNX Runtime, which is missing: pip install 'lamnet[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3  # errors, which it raises too
    try:
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever a damaged file leads it to
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"not a model that ONNX Runtime can read ({reason})") from None
    facts = session.get_modelmeta().custom_metadata_map
    try:
        scale, in_chans = int(facts["scale"]), int(facts["in_chans"])
        num_features = int(json.loads(facts["lamnet"])["config"]["channels"])
    except (KeyError, ValueError, TypeError):
        raise CheckpointError("no LAMNet, or not exported by lamnet export: it does not tell its scale") from None
    return OnnxNetwork(session, scale, in_chans, num_features)
