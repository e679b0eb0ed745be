"""PointwiseConv against nn.functional.conv2d, for all layouts and code paths."""

import pytest
import torch
import torch.nn.functional as F

from lamnet_layers.conv import PointwiseConv


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 6, 5, 7), (3, 6, 1, 7), (2, 6, 5, 1)])
def test_matches_conv2d_and_keeps_layout(shape, dtype, layout, threads):
    torch.manual_seed(0)
    layer = PointwiseConv(6, 10, dtype=dtype)
    x = torch.randn(shape, dtype=dtype).contiguous(memory_format=layout)
    expected = F.conv2d(x.double(), layer.weight.double(), layer.bias.double()).to(dtype)
    tolerance = {"rtol": 2e-2, "atol": 2e-2} if dtype.itemsize == 2 else {}
    wide = x.repeat_interleave(2, dim=3).contiguous(memory_format=layout)
    doubled = torch.cat((x, x), dim=1).contiguous(memory_format=layout)
    for view in (x, wide[..., ::2], doubled[:, 6:]):
        result = layer(view)
        torch.testing.assert_close(result, expected, **tolerance)
        assert result.is_contiguous(memory_format=layout)
    layer.contiguous = True
    result = layer(x)
    torch.testing.assert_close(result, expected, **tolerance)
    assert result.is_contiguous()


def test_gradients_match_conv2d(threads):
    torch.manual_seed(0)
    layer = PointwiseConv(6, 10)
    x = torch.randn(2, 6, 5, 7).contiguous(memory_format=torch.channels_last).requires_grad_()
    inputs = (x, layer.weight, layer.bias)
    expected = torch.autograd.grad(F.conv2d(*inputs).square().sum(), inputs)
    torch.testing.assert_close(torch.autograd.grad(layer(x).square().sum(), inputs), expected)


def test_compile_fullgraph_threads(threads):
    layer = PointwiseConv(6, 10)
    x = torch.randn(1, 6, 5, 7).contiguous(memory_format=torch.channels_last)
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="eager")(x), layer(x))
