"""The CPU kernels on random layers and inputs, against their definition in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamnet_layers import unavailable_reason
from lamnet_layers.ops.native.operators import Layer, native_layer
from lamnet_layers.window import FocalWindow

if unavailable_reason("native", "cpu"):
    pytest.skip(unavailable_reason("native", "cpu"), allow_module_level=True)

rings = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), max_size=3)
sides = st.integers(1, 24) | st.integers(1, 110)
layouts = st.sampled_from(["contiguous", "channels_last", "rows", "cropped", "expanded"])


@st.composite
def layers(draw) -> Layer:
    kernel = draw(st.sampled_from(["focal_pass", "mixer", "feed_forward"]))
    if kernel == "feed_forward":
        sizes, window = [draw(st.integers(2, 24)), draw(st.integers(1, 20))], FocalWindow((), ())
    else:
        heads, channels = draw(st.integers(1, 4)), draw(st.integers(1, 9))
        window = FocalWindow(*zip(*cells, strict=True)) if (cells := draw(rings)) else FocalWindow((), ())
        focal_pass = [heads * channels, heads, draw(st.sampled_from([2, 3]))]
        sizes = focal_pass if kernel == "focal_pass" else [2 * heads * channels, draw(st.integers(1, 9)), heads]
    norm, residual = (False, False) if kernel == "focal_pass" else (draw(st.booleans()), draw(st.booleans()))
    return Layer(kernel, sizes, list(window.strides), list(window.steps), 1e-5, norm, residual)


def parameter_shapes(layer: Layer) -> list[tuple[int, ...]]:
    dim, *_ = layer.sizes
    window = layer.window
    if layer.kernel == "feed_forward":
        both = 2 * layer.sizes[1]
        shapes = [(both, dim, 1, 1), (both,), (both, 1, 3, 3), (both,), (dim, both, 1, 1), (dim,)]
    elif layer.kernel == "focal_pass":
        return pass_shapes(dim, layer.sizes[1], window, layer.sizes[2])
    else:
        half, reduced, heads = dim // 2, *layer.sizes[1:]
        shapes = [(dim, dim, 1, 1), (dim,), (reduced, half, 1, 1), (reduced,), (half, reduced, 1, 1), (half,)]
        shapes += [*pass_shapes(half, heads, window, 3), *pass_shapes(half, heads, window, 2), (dim, dim, 1, 1), (dim,)]
    return [*([(dim,), (dim,)] if layer.norm else []), *shapes, *([(1, dim, 1, 1)] if layer.residual else [])]


def pass_shapes(dim: int, heads: int, window: FocalWindow, axis: int) -> list[tuple[int, ...]]:
    kernel = (1, window.size) if axis == 3 else (window.size, 1)
    return [(dim, 1, *kernel), (dim,), (heads * window.taps, dim, 1, 1), (heads * window.taps,)]


def arrange(x: torch.Tensor, layout: str) -> torch.Tensor:
    """Return the values in other strides; an expanded tensor has the first image for all."""
    if layout == "channels_last":
        return x.to(memory_format=torch.channels_last)
    if layout == "rows":
        return x.transpose(1, 2).contiguous().transpose(1, 2)
    if layout == "cropped":
        return torch.nn.functional.pad(x, (1, 2, 1, 1), value=float("nan"))[..., 1:-1, 1:-2]
    return x[:1].expand(x.shape) if layout == "expanded" else x


@settings(max_examples=15, deadline=None, derandomize=True)
@given(layers(), st.integers(1, 3), sides, sides, layouts, layouts, st.integers(1, 4), st.integers(0, 99))
def test_random_layers(layer, batch, height, width, layout, grad_layout, threads, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, layer.sizes[0], height, width)
    x, grad = (arrange(torch.randn(shape, generator=generator), name) for name in (layout, grad_layout))
    parameters = [torch.randn(shape, generator=generator) for shape in parameter_shapes(layer)]
    parameters = [parameter / parameter[0].numel() ** 0.5 for parameter in parameters]
    inputs = [tensor.detach().requires_grad_() for tensor in (x, *parameters)]
    exact = [tensor.detach().double().requires_grad_() for tensor in (x, *parameters)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        out = native_layer(inputs[0], inputs[1:], layer, True)[0]
        results = [out, *torch.autograd.grad(out, inputs, grad)]
        with torch.no_grad():
            inference = native_layer(inputs[0], inputs[1:], layer, False)[0]
    finally:
        torch.set_num_threads(before)
    expected, eager = (evaluate(layer, tensors, grad) for tensors in (exact, inputs))
    assert_close(inference, expected[0], eager[0])
    for index, tensors in enumerate(zip(results, expected, eager, strict=True)):
        assert_close(*tensors, scale=1 if index < 2 else (batch * height * width) ** 0.5)


def assert_close(result: torch.Tensor, expected: torch.Tensor, eager: torch.Tensor, scale: float = 1) -> None:
    """Compare a result with the exact one and with PyTorch's, which is inexact if a norm has few channels.

    The scale is the usual size of the values, of sums over random signs the square root of their number.
    """
    assert result.shape == expected.shape
    tolerance = max(1e-5 * max(scale, expected.abs().max()), 4 * (eager - expected).abs().max())
    assert (result - expected).abs().max() <= tolerance  # NaN fails too


def evaluate(layer: Layer, inputs: list[torch.Tensor], grad: torch.Tensor) -> list[torch.Tensor]:
    """Return the output by definition, and the gradients."""
    out = layer.reference(inputs[0], inputs[1:])
    return [out.detach(), *torch.autograd.grad(out, inputs, grad.to(out.dtype))]
