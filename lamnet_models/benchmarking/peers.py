"""Networks of LAMNet's size that spandrel brings, with random weights: time does not depend on them."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn


def _swinir_light(scale: int) -> nn.Module:
    from spandrel.architectures.SwinIR import SwinIR

    return SwinIR(
        upscale=scale,
        img_size=64,
        window_size=8,
        img_range=1.0,
        depths=[6, 6, 6, 6],
        embed_dim=60,
        num_heads=[6, 6, 6, 6],
        mlp_ratio=2,
        upsampler="pixelshuffledirect",
        resi_connection="1conv",
    )


def _omni_sr(scale: int) -> nn.Module:
    from spandrel.architectures.OmniSR import OmniSR

    return OmniSR(
        num_in_ch=3,
        num_out_ch=3,
        num_feat=64,
        block_num=1,
        pe=True,
        window_size=8,
        res_num=5,
        up_scale=scale,
        bias=True,
    )


def _safmn(scale: int) -> nn.Module:
    from spandrel.architectures.SAFMN import SAFMN

    return SAFMN(dim=36, n_blocks=8, ffn_scale=2.0, upscaling_factor=scale)


PEERS: dict[str, Callable[[int], nn.Module]] = {
    "swinir_light": _swinir_light,
    "omni_sr": _omni_sr,
    "safmn": _safmn,
}
"""The peers by name, each built for a scale: two with window attention, and a convolutional one."""
