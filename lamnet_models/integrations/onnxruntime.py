"""Exported networks in ONNX Runtime, on the CPU, as PyTorch modules."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoint import update_config
from ..errors import CheckpointError, LAMNetError, collapse_whitespace

if TYPE_CHECKING:
    import onnxruntime

METADATA = "lamnet"
"""Metadata key of the JSON description of an exported program."""


class OnnxNetwork(nn.Module):
    """Network that runs in ONNX Runtime, with the interface of LAMNet.

    Args:
        session: Session of images (B, C, H, W) → (B, C, r·H, r·W), in float32 or float16.
        scale: Scale factor r.
        in_chans: Number of image channels.
        num_features: Width of the network, for memory estimates.

    Attributes:
        scale: Scale factor.
        in_chans: Number of image channels.
        num_features: Width of the network.
    """

    def __init__(self, session: onnxruntime.InferenceSession, scale: int, in_chans: int, num_features: int) -> None:
        super().__init__()
        self.scale, self.in_chans, self.num_features = scale, in_chans, num_features
        self._session = session
        self._input = session.get_inputs()[0]
        self._dtype = np.float16 if self._input.type == "tensor(float16)" else np.float32

    def forward(self, x: Tensor) -> Tensor:
        """Return the upscaled images, (B, in_chans, r·H, r·W), with dtype and device of ``x``."""
        image = np.ascontiguousarray(x.detach().cpu().numpy(), dtype=self._dtype)
        try:
            (result,) = self._session.run(None, {self._input.name: image})
        except Exception as error:  # ONNX Runtime has no common exception class
            if "alloc" in str(error).lower():
                # The message that callers detect in PyTorch's errors.
                raise RuntimeError("ONNX Runtime is out of memory") from None
            raise
        return torch.from_numpy(result).to(x)

    def compile(self, *_: object, **__: object) -> None:
        """Raise LAMNetError: ``torch.compile`` does not apply to ONNX Runtime.

        Raises:
            LAMNetError: Always.
        """
        raise LAMNetError("networks in ONNX Runtime cannot be compiled")

    def __deepcopy__(self, memo: dict) -> OnnxNetwork:
        return self  # immutable


def load_onnx(path: str | os.PathLike, threads: int | None = None) -> OnnxNetwork:
    """Load an exported file.

    Args:
        path: File written by [`export`][lamnet_models.export].
        threads: Number of threads; None for that of PyTorch.

    Raises:
        CheckpointError: If the file cannot be read or is not an exported LAMNet.
        LAMNetError: If ONNX Runtime is missing.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        return open_onnx(os.fspath(path), threads)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def open_onnx(source: str | bytes, threads: int | None = None) -> OnnxNetwork:
    """Load an exported network from a path or from the contents of a file.

    Raises:
        CheckpointError: If the file cannot be read or is not an exported LAMNet.
        LAMNetError: If ONNX Runtime is missing.
    """
    try:
        import onnxruntime
    except ImportError:
        raise LAMNetError("ONNX models need ONNX Runtime: pip install 'lamnet[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3  # errors only, which are also raised
    try:
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # arbitrary errors for damaged files
        reason = collapse_whitespace(error)[:200]
        raise CheckpointError(f"ONNX Runtime cannot load the model ({reason})") from None
    metadata = session.get_modelmeta().custom_metadata_map
    try:
        scale, in_chans = int(metadata["scale"]), int(metadata["in_chans"])
        num_features = int(update_config(json.loads(metadata[METADATA])["config"])["embed_dim"])
    except (AttributeError, KeyError, ValueError, TypeError):
        raise CheckpointError("not an exported LAMNet: its metadata is missing") from None
    return OnnxNetwork(session, scale, in_chans, num_features)
