"""Layer benchmarks by backend: pytest tests/benchmarks --benchmark-enable."""

import pytest
import torch

from lamnet_layers import (
    CSM,
    DGFN,
    IEM,
    ULM,
    ChannelLayerNorm,
    FocalPass,
    FocalSeparableAttention,
    LAMBlock,
    focal_aggregate,
    use_backend,
)
from lamnet_layers.backend import BACKENDS

HEIGHT, WIDTH = 180, 320  # upscaled to 1280×720 at ×4
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LAYERS = {
    "ChannelLayerNorm": (64, ChannelLayerNorm),
    "FocalPass, horizontal": (32, FocalPass),
    "FocalPass, vertical": (32, lambda channels: FocalPass(channels, axis="vertical")),
    "FocalSeparableAttention": (32, FocalSeparableAttention),
    "CSM": (32, CSM),
    "ULM": (64, ULM),
    "DGFN": (64, DGFN),
    "LAMBlock": (64, lambda channels: LAMBlock(channels, depth=1)),
}


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Each backend; kernels on a GPU only, not in Triton's interpreter."""
    if request.param != "eager" and DEVICE == "cpu":
        pytest.skip("needs a GPU")
    with use_backend(request.param):
        yield request.param


@pytest.fixture(params=[torch.contiguous_format, torch.channels_last], ids=["planes", "channels_last"])
def layout(request):
    return request.param


def features(channels, layout):
    return torch.randn(1, channels, HEIGHT, WIDTH, device=DEVICE).contiguous(memory_format=layout)


def timed(benchmark, function, *arguments, **options):
    """Benchmark a call, including device synchronization."""

    def call():
        function(*arguments, **options)
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    benchmark(call)


@pytest.mark.parametrize("layer", LAYERS)
@torch.inference_mode()
def test_layer(benchmark, backend, layer, layout):
    channels, build = LAYERS[layer]
    timed(benchmark, build(channels).to(DEVICE), features(channels, layout))


@torch.inference_mode()
def test_exchange(benchmark, layout):
    timed(benchmark, IEM(), features(32, layout), features(32, layout))


@pytest.mark.parametrize("dim", [-1, -2], ids=["horizontal", "vertical"])
@torch.inference_mode()
def test_focal_aggregate(benchmark, backend, dim):
    planes = torch.contiguous_format
    timed(benchmark, focal_aggregate, features(32, planes), features(4 * 13, planes).tanh(), dim=dim)


@pytest.mark.parametrize("dim", [-1, -2], ids=["horizontal", "vertical"])
def test_gradients(benchmark, backend, dim):
    x, weights = (features(channels, torch.contiguous_format).requires_grad_() for channels in (32, 4 * 13))
    out = focal_aggregate(x, weights, dim=dim)
    timed(benchmark, torch.autograd.grad, out, (x, weights), torch.ones_like(out), retain_graph=True)
