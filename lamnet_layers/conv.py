"""1×1 convolution as a matrix product."""

from __future__ import annotations

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from .adapters import register_layer
from .backend import assume_constant_result
from .validation import refuse_scripting


class PointwiseConv(nn.Conv2d):
    """1×1 convolution computed as a matrix product that keeps the memory layout of its input.

    Parameters and results equal those of ``nn.Conv2d(in_channels, out_channels, 1)``, which may be slower and may
    return a contiguous output for a channels-last input.

    Args:
        in_channels: Number of input channels C.
        out_channels: Number of output channels D.
        contiguous: Return a contiguous output for inputs of either layout, without copying them.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        (B, C, H, W) → (B, D, H, W), channels last if the input has channel stride 1, else contiguous.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        contiguous: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, 1, device=device, dtype=dtype)
        self.contiguous = contiguous

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved features, (B, D, H, W)."""
        return _pointwise_conv(x, self.weight, self.bias, self.contiguous)

    __prepare_scriptable__ = refuse_scripting


@torch.fx.wrap  # one node in FX graphs, since the computation depends on the memory layout
def _pointwise_conv(x: Tensor, weight: Tensor, bias: Tensor, contiguous: bool) -> Tensor:
    batch, _, height, width = x.shape
    matrix = weight.flatten(1)
    if contiguous or x.stride(1) != 1:
        return torch.baddbmm(bias[:, None], matrix.expand(batch, -1, -1), x.flatten(2)).unflatten(2, (height, width))
    pixels = x.permute(0, 2, 3, 1)
    if pixels.is_contiguous() and _is_convolution_faster(x):
        return F.conv2d(x, weight, bias)
    out = F.linear(pixels.reshape(-1, matrix.shape[1]), matrix, bias)
    return out.view(batch, height, width, matrix.shape[0]).permute(0, 3, 1, 2)


@register_layer("linear")
def linear(dim: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> PointwiseConv:
    """Return a 1×1 convolution on ``dim`` channels."""
    return PointwiseConv(dim, dim, device=device, dtype=dtype)


def _is_convolution_faster(x: Tensor) -> bool:
    # oneDNN fuses the bias into the product. PyTorch uses it for convolutions in float32 and, for small batches, only
    # with several threads.
    is_exported = torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()
    if is_exported or x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    return _has_multiple_threads()


@assume_constant_result  # one graph for any number of threads
def _has_multiple_threads() -> bool:
    return torch.backends.mkldnn.is_available() and torch.get_num_threads() > 1
