"""Correctness of the baseline kernels."""

import pytest
import torch

from lamnet_layers import FocalWindow, focal_aggregate

pytest.importorskip("triton")
import plain_kernels

pytestmark = pytest.mark.usefixtures("triton_interpreter")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("dim", [-1, -2])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (3, 41)])
def test_plain_kernels_match_eager(size, dim):
    window = FocalWindow((1, 2), (1, 1))
    x, grad = (torch.randn(2, 6, *size, device=DEVICE, dtype=torch.float64) for _ in range(2))
    weights = torch.randn(2, 3 * window.taps, *size, device=DEVICE, dtype=torch.float64)
    inputs = [x.requires_grad_(), weights.requires_grad_()]
    out = focal_aggregate(*inputs, window, num_heads=3, dim=dim, backend="eager")
    expected = torch.autograd.grad(out, inputs, grad)
    x, weights = (tensor.detach() for tensor in inputs)
    torch.testing.assert_close(plain_kernels.forward(x, weights, window, 3, dim), out.detach())
    torch.testing.assert_close(plain_kernels.backward(grad, x, weights, window, 3, dim), tuple(expected))
