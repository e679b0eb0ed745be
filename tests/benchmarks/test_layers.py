"""Times of the layers: pytest tests/benchmarks --benchmark-enable."""

import pytest
import torch

from lamnet_layers import CSM, DGFN, IEM, ULM, ChannelLayerNorm, FocalSeparableAttention, LAMBlock, focal_aggregate

HEIGHT, WIDTH = 180, 320  # what is enlarged to 1280×720 at ×4
LAYERS = {
    "ChannelLayerNorm": lambda: ChannelLayerNorm(64),
    "FocalSeparableAttention": lambda: FocalSeparableAttention(32),
    "CSM": lambda: CSM(32),
    "ULM": lambda: ULM(64),
    "DGFN": lambda: DGFN(64),
    "LAMBlock": lambda: LAMBlock(64, depth=1),
}


def features(channels: int, channels_last: bool) -> torch.Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.randn(1, channels, HEIGHT, WIDTH).contiguous(memory_format=layout)


@pytest.mark.parametrize("channels_last", [False, True], ids=["planes", "channels_last"])
@pytest.mark.parametrize("layer", LAYERS)
@torch.inference_mode()
def test_layer(benchmark, layer, channels_last):
    module = LAYERS[layer]()
    channels = 32 if layer in ("FocalSeparableAttention", "CSM") else 64
    benchmark(module, features(channels, channels_last))


@pytest.mark.parametrize("channels_last", [False, True], ids=["planes", "channels_last"])
@torch.inference_mode()
def test_exchange(benchmark, channels_last):
    benchmark(IEM(), features(32, channels_last), features(32, channels_last))


@pytest.mark.parametrize("dim", [-1, -2], ids=["horizontal", "vertical"])
@torch.inference_mode()
def test_focal_aggregate(benchmark, dim):
    benchmark(focal_aggregate, features(32, False), features(4 * 13, False).tanh(), dim=dim)
