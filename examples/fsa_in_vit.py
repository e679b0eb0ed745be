"""Vision Transformer with focal separable attention: python examples/fsa_in_vit.py."""

from __future__ import annotations

import timm
import torch
from textures import report
from torch import nn

from lamnet_layers import FocalSeparableAttention, TokenAdapter


def build() -> nn.Module:
    """Build a small Vision Transformer for 32×32 pixels with FSA in its blocks."""
    model = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=32,
        patch_size=4,
        embed_dim=64,
        depth=3,
        num_heads=4,
        class_token=False,  # FSA works on a grid, which excludes a class token
        global_pool="avg",
        num_classes=3,
    )
    grid = model.patch_embed.grid_size
    for block in model.blocks:
        block.attn = TokenAdapter(FocalSeparableAttention(model.embed_dim, num_heads=4, window=((1, 2), (2, 1))), grid)
    return model


if __name__ == "__main__":
    torch.manual_seed(0)
    report(build())
