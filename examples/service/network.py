"""A network exported to ONNX as one that an Upscaler runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from lamnet_models import CheckpointError
from lamnet_models.images.messages import reason


class OnnxNetwork(nn.Module):
    """A network (B, C, H, W) → (B, C, scale·H, scale·W) that ONNX Runtime runs.

    Args:
        path: The file, with dynamic height and width, as ``lamnet export`` writes it.
        threads: Threads that one image is computed with; 0 for all cores.

    Raises:
        CheckpointError: If the file is missing or no ONNX model.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_cpu_mem_arena = False  # else the largest image's memory is never given back
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, onnxruntime.get_available_providers())
        except Exception as error:  # ONNX Runtime has a kind for each cause, and no common one
            raise CheckpointError(f"{path}: cannot be loaded by ONNX Runtime ({reason(error)})") from None
        (self._input,) = self._session.get_inputs()
        self.in_chans = self._input.shape[1]
        self.dtype = np.float16 if "float16" in self._input.type else np.float32
        first = self(torch.zeros(1, self.in_chans, 8, 8))  # which prepares those that follow, too
        self.scale = first.shape[-1] // 8

    def forward(self, image: Tensor) -> Tensor:
        """Returns the enlarged images."""
        feed = {self._input.name: image.cpu().numpy().astype(self.dtype, copy=False)}
        return torch.from_numpy(self._session.run(None, feed)[0]).float().to(image.device)
