"""1×1 convolutions as what they are, one matrix product over all pixels, in whichever way is quickest."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PointwiseConv(nn.Conv2d):
    """1×1 convolution, computed as a matrix product in the layout that its input has in memory.

    The parameters are those of ``nn.Conv2d(in_channels, out_channels, 1)``, and so is the result. That convolution may
    be computed channel by channel, and its result may lie in planes whatever the input's layout was.

    Args:
        in_channels: Number of channels C of the input.
        out_channels: Number of channels D of the result.
        device: Device of the parameters.
        dtype: Type of the parameters.

    Shape:
        (B, C, H, W) → (B, D, H, W), channels last in memory, or in planes if the input's pixels are neighbours there.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, 1, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the convolved features, (B, D, H, W)."""
        if x.stride(1) != 1:
            return self.planes(x)
        pixels = x.permute(0, 2, 3, 1)
        if pixels.is_contiguous() and _is_quick_convolution(x):
            return super().forward(x)
        batch, _, height, width = x.shape
        pixels = pixels.reshape(-1, self.in_channels)
        out = F.linear(pixels, self.weight.flatten(1), self.bias)
        return out.view(batch, height, width, -1).permute(0, 3, 1, 2)

    def planes(self, x: Tensor) -> Tensor:
        """Returns the same in planes, without a copy of an input of either layout."""
        batch, _, height, width = x.shape
        weight = self.weight.flatten(1).expand(batch, -1, -1)
        return torch.baddbmm(self.bias[:, None], weight, x.flatten(2)).unflatten(2, (height, width))


def _is_quick_convolution(x: Tensor) -> bool:
    # oneDNN's product adds the bias on the way. PyTorch sends convolutions there in float32 and, of few images, only
    # where there are threads to share.
    is_exported = torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()
    if is_exported or x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    return _has_threads_to_share()


def _has_threads_to_share() -> bool:
    return torch.backends.mkldnn.is_available() and torch.get_num_threads() > 1


# What torch.compiler.assume_constant_result does, without loading the compiler: it asks once, and keeps one graph.
_has_threads_to_share._dynamo_marked_constant = True
