"""Triton kernels against the naive reference in float64, on a GPU or in Triton's interpreter."""

import importlib
import itertools
from functools import partial

import pytest
import torch
from torch.autograd import gradcheck
from torch.utils.flop_counter import FlopCounterMode

from lamnet_layers import (
    DGFN,
    ULM,
    FocalSeparableAttention,
    FocalWindow,
    LAMBlock,
    focal_aggregate,
    use_backend,
)
from lamnet_layers.backend import BACKEND_VARIABLE, available_backends, select_backend, unavailable_reason
from lamnet_layers.ops import focal_aggregate as reference

pytest.importorskip("triton")
ops = importlib.import_module("lamnet_layers.ops.triton.focal_aggregate")
pytestmark = pytest.mark.usefixtures("launches", "poisoned")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TINY = FocalWindow((1, 2), (1, 1))
# Sums are accumulated in float32, so only the result is rounded; the same holds for gradients.
TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def sample(size, window, heads, channels, batch=1, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = (batch, channels, *size), (batch, heads * window.taps, *size), (batch, channels, *size)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(DEVICE, dtype) for shape in shapes]


def run(function, x, weights, grad):
    x, weights = (tensor.detach().requires_grad_() for tensor in (x, weights))
    out = function(x, weights)
    return [out.detach(), *torch.autograd.grad(out, (x, weights), grad.to(out.dtype))]


def assert_matches(x, weights, grad, window, heads, dim):
    kernel = partial(focal_aggregate, window=window, num_heads=heads, dim=dim, backend="triton")
    naive = partial(reference.naive, window=window, num_heads=heads, dim=dim % 4)
    results = run(kernel, x, weights, grad)
    expected = run(naive, x.double(), weights.double(), grad.double())
    tolerance = TOLERANCE[torch.promote_types(x.dtype, weights.dtype)]
    for result, exact in zip(results, expected, strict=True):
        error = (result.double() - exact).abs()
        assert error.max() <= tolerance * exact.abs().max()  # NaN fails too
        assert error.mean() <= tolerance / 3 * exact.abs().max()
    assert [result.dtype for result in results[1:]] == [x.dtype, weights.dtype]


# In the interpreter, the time of a kernel is proportional to the number of its tiles and taps.
@pytest.mark.parametrize(
    ("size", "dim"),
    [*itertools.product([(1, 1), (1, 9), (9, 1), (7, 5)], (-1, -2)), ((2, 67), -1), ((37, 2), -2)],
)
def test_edge_sizes(size, dim, launches):
    window = FocalWindow() if size == (7, 5) else FocalWindow((1, 2, 4), (1, 1, 1))
    assert_matches(*sample(size, window, 2, 4), window, 2, dim)
    assert set(launches) == {"_forward_kernel", "_grad_x_kernel", "_grad_weights_kernel"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dim", [-1, -2])
def test_dtypes(dtype, dim):
    assert_matches(*sample((3, 11), TINY, 2, 6, dtype=dtype), TINY, 2, dim)


@pytest.mark.parametrize("types", [(torch.float16, torch.float32), (torch.float32, torch.float64)])
def test_mixed_dtypes_promote(types):
    x, weights, _ = sample((4, 5), TINY, 1, 2)
    out = focal_aggregate(x.to(types[0]), weights.to(types[1]), TINY, num_heads=1, backend="triton")
    assert out.dtype == types[1]


@pytest.mark.parametrize(
    ("window", "heads", "channels"),
    [(FocalWindow((), ()), 1, 1), (FocalWindow((3,), (2,)), 3, 9), (TINY, 1, 11), (TINY, 5, 5), (TINY, 1, 20)],
)
def test_windows_and_heads(window, heads, channels):
    for dim in (-1, -2):
        assert_matches(*sample((5, 8), window, heads, channels), window, heads, dim)


@pytest.mark.parametrize("layout", ["channels_last", "transposed", "every_second", "expanded"])
def test_memory_layouts(layout):
    for dim in (-1, -2):
        x, weights, grad = sample((3, 5), TINY, 2, 4, batch=2)
        if layout == "channels_last":
            x, weights, grad = (t.contiguous(memory_format=torch.channels_last) for t in (x, weights, grad))
        elif layout == "transposed":
            x, weights, grad = (t.mT.contiguous().mT for t in (x, weights, grad))
        elif layout == "every_second":
            x, weights, grad = (t.repeat_interleave(2, 3)[..., ::2] for t in (x, weights, grad))
        else:
            x, grad = x[:1].expand(2, -1, -1, -1), grad[:, :, :1].expand(-1, -1, 3, -1)
        assert_matches(x, weights, grad, TINY, 2, dim)


def test_empty_batch(launches):
    x, weights, _ = sample((3, 4), TINY, 1, 2, batch=0)
    assert focal_aggregate(x, weights, TINY, num_heads=1, backend="triton").shape == x.shape
    assert not launches


def test_gradcheck():
    x, weights, _ = sample((2, 3), TINY, 1, 2)
    inputs = (x.requires_grad_(), weights.requires_grad_())
    aggregate = partial(focal_aggregate, window=TINY, num_heads=1, dim=-2, backend="triton")
    assert gradcheck(aggregate, inputs, fast_mode=True)


def test_unneeded_gradients_not_computed(launches):
    x, weights, grad = sample((4, 5), TINY, 1, 2)
    focal_aggregate(x, weights.requires_grad_(), TINY, num_heads=1, backend="triton").backward(grad)
    assert set(launches) == {"_forward_kernel", "_grad_weights_kernel"}


def test_second_derivative_raises():
    x, weights, _ = sample((4, 5), TINY, 1, 2)
    out = focal_aggregate(x.requires_grad_(), weights, TINY, num_heads=1, backend="triton")
    (grad,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"second derivative.*backend='eager'"):
        grad.sum().backward()


def test_opcheck():
    x, weights, grad = sample((2, 3), TINY, 2, 4)
    arguments = [list(TINY.strides), list(TINY.steps), 2, 3]
    torch.library.opcheck(ops.focal_aggregate, (x.requires_grad_(), weights.requires_grad_(), *arguments))
    tensors = (grad, x.detach(), weights.detach())
    for needs_grad in ((True, True), (True, False), (False, True)):
        torch.library.opcheck(ops.focal_aggregate_backward, (*tensors, *arguments, list(needs_grad)))


@pytest.mark.parametrize("in_dims", [(0, 0), (1, None), (None, 2)])
def test_vmap(in_dims):
    x, weights, _ = sample((4, 5), TINY, 1, 2)
    x = x if in_dims[0] is None else torch.stack([x, -x, 2 * x], in_dims[0])
    weights = weights if in_dims[1] is None else torch.stack([weights, 3 * weights, weights], in_dims[1])

    def aggregate(backend):
        return torch.vmap(lambda x, w: focal_aggregate(x, w, TINY, num_heads=1, backend=backend), in_dims)(x, weights)

    torch.testing.assert_close(aggregate("triton"), aggregate("eager"))


def test_batched_gradients():
    x, weights, grad = sample((4, 5), TINY, 1, 2)
    inputs, grads = (x.requires_grad_(), weights.requires_grad_()), torch.stack([grad, -2 * grad])

    def batched(backend):
        out = focal_aggregate(*inputs, TINY, num_heads=1, backend=backend)
        return torch.autograd.grad(out, inputs, grads, is_grads_batched=True)

    for result, expected in zip(batched("triton"), batched("eager"), strict=True):
        torch.testing.assert_close(result, expected)


def test_flop_counts():
    x, weights, grad = sample((4, 5), TINY, 2, 4)
    with FlopCounterMode(display=False) as counter:
        out = focal_aggregate(x.requires_grad_(), weights, TINY, num_heads=2, backend="triton")
        out.backward(grad)
    assert counter.get_total_flops() == 2 * (2 * 4 * 4 * 5 * TINY.taps)


def test_compile_and_export_fullgraph():
    torch.manual_seed(0)
    attention = partial(FocalSeparableAttention, num_heads=2, window=TINY, backend="triton")
    block = LAMBlock(8, depth=1, mixer_layer=partial(ULM, attn_layer=attention)).to(DEVICE).eval()
    x = torch.randn(1, 8, 6, 7, device=DEVICE)
    with torch.no_grad():
        expected = block(x)
        compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), expected)
        program = torch.export.export(block, (x,))
    assert any("lamnet.focal_aggregate" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(x), expected)


def test_backend_precedence(monkeypatch, launches):
    x, weights, _ = sample((4, 5), TINY, 1, 2)

    def count(backend=None):
        launches.clear()
        focal_aggregate(x, weights, TINY, num_heads=1, backend=backend)
        return sum(launches.values())

    monkeypatch.setenv(BACKEND_VARIABLE, "triton")
    assert count() == 1
    with use_backend("eager"):
        assert count() == 0
        with use_backend("triton"):
            assert count() == 1
        assert count("triton") == 1
    monkeypatch.setenv(BACKEND_VARIABLE, "eager")
    assert count() == 0


def test_unavailable_or_unknown_backend_raises(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.delenv(BACKEND_VARIABLE, raising=False)
    assert "triton" not in available_backends("cpu")
    with pytest.raises(RuntimeError, match=r"'triton' .*cpu"):
        select_backend("triton", "cpu")
    monkeypatch.setattr("lamnet_layers.backend.find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="not installed"):
        select_backend("triton", "cuda")
    assert unavailable_reason("eager", "cuda") is None
    assert select_backend(None, "cuda") == "eager"
    for call in (
        lambda: select_backend("cuda", "cpu"),
        lambda: unavailable_reason("cuda"),
        lambda: FocalSeparableAttention(8, backend="fast"),
        lambda: DGFN(8, backend="fast"),
    ):
        with pytest.raises(ValueError, match=r"^backend .*(cuda|fast)"):
            call()
    monkeypatch.setenv(BACKEND_VARIABLE, "fast")
    with pytest.raises(ValueError, match=BACKEND_VARIABLE):
        select_backend(None, "cpu")


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
def test_cuda_graph():
    x, weights, _ = sample((16, 16), FocalWindow(), 4, 32, dtype=torch.float32)
    focal_aggregate(x, weights, backend="triton")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = focal_aggregate(x, weights, backend="triton")
    x.neg_()
    graph.replay()
    torch.testing.assert_close(out, focal_aggregate(x, weights, backend="eager"))


@pytest.mark.skipif(
    DEVICE == "cpu" or torch.cuda.mem_get_info()[0] < 40 * 2**30, reason="needs a GPU with 40 GiB of free memory"
)
@pytest.mark.parametrize("dim", [-1, -2])
def test_more_than_2_31_elements(dim):
    window = FocalWindow((), ())
    x = torch.ones(1, 1, 2**16, 2**15 + 8, device=DEVICE, dtype=torch.float16)
    out = focal_aggregate(x, x, window, num_heads=1, dim=dim, backend="triton")
    assert out.sum(dtype=torch.float64) == x.numel()
