"""Peer networks of LAMNet's size from spandrel, with random weights, and networks by name."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from importlib.util import find_spec

from torch import nn

from ..errors import ModelError
from ..factory import create_model, resolve_model
from ..names import BASELINES, VARIANTS


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


def _atd_light(scale: int) -> nn.Module:
    from spandrel.architectures.ATD import ATD

    return ATD(
        embed_dim=48,
        depths=(6, 6, 6, 6),
        num_heads=(4, 4, 4, 4),
        window_size=16,
        category_size=128,
        num_tokens=64,
        reducted_dim=8,
        convffn_kernel_size=7,
        mlp_ratio=1,
        upscale=scale,
        upsampler="pixelshuffledirect",
        norm=False,
    )


def _dat_light(scale: int) -> nn.Module:
    from spandrel.architectures.DAT import DAT

    return DAT(
        embed_dim=60,
        split_size=[8, 32],
        depth=[18],
        num_heads=[6],
        expansion_factor=2.0,
        upscale=scale,
        upsampler="pixelshuffledirect",
        resi_connection="3conv",
    )


def _craft(scale: int) -> nn.Module:
    from spandrel.architectures.CRAFT import CRAFT

    return CRAFT(upscale=scale)


def _dctlsa(scale: int) -> nn.Module:
    from spandrel.architectures.DCTLSA import DCTLSA

    return DCTLSA(upscale=scale)


PEERS: dict[str, Callable[[int], nn.Module]] = dict(
    zip(BASELINES, (_swinir_light, _omni_sr, _atd_light, _dat_light, _craft, _dctlsa, _safmn), strict=True)
)
"""Peer networks by name, as functions of the scale: six attention networks with the 570 to 930 thousand parameters of
their papers, and a small convolutional one."""


def has_spandrel() -> bool:
    """Return whether spandrel is installed."""
    return find_spec("spandrel") is not None


def open_network(name: str | os.PathLike, scale: int) -> nn.Module:
    """Return a network to benchmark, in evaluation mode.

    Args:
        name: A model name (with random weights, which do not affect latency), a key of
            [`PEERS`][lamnet_models.benchmarking.PEERS], or a checkpoint file.
        scale: Scale factor of peer networks.

    Raises:
        LAMNetError: If the network is unknown, or spandrel is missing.
    """
    if name in PEERS:
        try:
            with warnings.catch_warnings():  # deprecated calls of torch functions
                warnings.simplefilter("ignore")
                return PEERS[name](scale).eval()
        except ImportError:
            raise ModelError(f"{name} requires spandrel: pip install 'lamnet[peers]'") from None
    return (create_model(name) if name in VARIANTS else resolve_model(name)).eval()
