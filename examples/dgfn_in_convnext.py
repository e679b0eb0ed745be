"""ConvNeXt with DGFN in place of its MLPs: python examples/dgfn_in_convnext.py."""

from __future__ import annotations

import timm
import torch
from textures import report
from timm.models.convnext import ConvNeXtBlock
from torch import nn

from lamnet_layers import DGFN


def build() -> nn.Module:
    """Build a small ConvNeXt with a DGFN after the depthwise convolution of each block."""
    model = timm.create_model(
        "convnext_atto", depths=(1, 2, 2, 1), dims=(24, 48, 72, 96), patch_size=2, ls_init_value=None, num_classes=3
    )
    for block in model.modules():
        if isinstance(block, ConvNeXtBlock):
            block.mlp = DGFN(block.mlp.fc1.in_channels)
    return model


if __name__ == "__main__":
    torch.manual_seed(0)
    report(build())
