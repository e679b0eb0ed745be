"""Fused kernels against the naive references in float64, on a GPU or in Triton's interpreter."""

import importlib
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lamnet_layers import (
    DGFN,
    ULM,
    FocalSeparableAttention,
    FocalWindow,
    LAMBlock,
    set_backend,
    use_backend,
)
from lamnet_layers.backend import BACKEND_VARIABLE
from lamnet_layers.ops import dual_gate as gate_reference
from lamnet_layers.ops import focal_pass as pass_reference

pytest.importorskip("triton")
focal_pass = importlib.import_module("lamnet_layers.ops.triton.focal_pass").focal_pass
dual_gate = importlib.import_module("lamnet_layers.ops.triton.dual_gate").dual_gate
pytestmark = pytest.mark.usefixtures("launches", "poisoned")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TINY = FocalWindow((1, 2), (1, 1))
TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def randn(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(DEVICE, dtype)


def assert_matches(result, expected, dtype):
    error = (result.double() - expected).abs()
    assert result.dtype == dtype
    assert error.max() <= TOLERANCE[dtype] * expected.abs().max()  # NaN fails too
    assert error.mean() <= TOLERANCE[dtype] / 3 * expected.abs().max()


def check_pass(x, hidden, window, heads, dims=(3, 2)):
    channels, taps = x.shape[1], heads * window.taps
    matrix, bias = (randn(*shape, dtype=hidden.dtype, seed=1) / 2 for shape in ((taps, channels), (taps,)))
    rings = list(window.strides), list(window.steps)
    for dim in dims:
        exact = (tensor.double() for tensor in (x, hidden, matrix[..., None, None], bias))
        expected = pass_reference.naive(*exact, window, heads, dim)
        result = focal_pass(x, hidden, matrix, bias, *rings, heads, dim)
        assert_matches(result, expected, torch.promote_types(x.dtype, hidden.dtype))


def check_gate(x, dtype=torch.float64):
    channels = x.shape[1]
    weight, bias = randn(channels, 1, 3, 3, dtype=dtype, seed=1), randn(channels, dtype=dtype, seed=2)
    expected = gate_reference.naive(x.double(), weight.double(), bias.double())
    assert_matches(dual_gate(x, weight, bias), expected, x.dtype)


# In the interpreter, the time of a kernel is proportional to the number of its tiles and taps.
@pytest.mark.parametrize(
    ("size", "dims"),
    [((1, 1), (3, 2)), ((1, 9), (3, 2)), ((9, 1), (3, 2)), ((7, 5), (3, 2)), ((2, 67), (3,)), ((37, 2), (2,))],
)
def test_edge_sizes(size, dims, launches):
    window = FocalWindow() if size == (7, 5) else FocalWindow((1, 2, 4), (1, 1, 1))
    check_pass(randn(1, 4, *size), randn(1, 4, *size, seed=3), window, 2, dims)
    check_gate(randn(2, 10, *size))
    assert launches == {"_focal_pass_kernel": len(dims), "_dual_gate_kernel": 1}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtypes(dtype):
    check_pass(randn(1, 6, 3, 11, dtype=dtype), randn(1, 6, 3, 11, dtype=dtype, seed=3), TINY, heads=2)
    check_gate(randn(1, 6, 3, 11, dtype=dtype), dtype)


def test_mixed_dtypes_promote():
    check_pass(randn(1, 4, 5, 6, dtype=torch.float32), randn(1, 4, 5, 6, dtype=torch.float16, seed=3), TINY, heads=2)
    check_gate(randn(1, 4, 5, 6, dtype=torch.float16), torch.float32)


@pytest.mark.parametrize(
    ("window", "heads", "channels"), [(FocalWindow((), ()), 1, 1), (TINY, 1, 11), (TINY, 5, 5), (TINY, 2, 40)]
)
def test_windows_and_heads(window, heads, channels):
    check_pass(randn(1, channels, 5, 8), randn(1, channels, 5, 8, seed=3), window, heads)


@pytest.mark.parametrize("channels", [2, 66, 70])
def test_dual_gate_channels(channels):
    check_gate(randn(1, channels, 5, 6))


LAYOUTS = {
    "channels last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "transposed": lambda t: t.mT.contiguous().mT,
    "every second": lambda t: t.repeat_interleave(2, 3)[..., ::2],
    "expanded": lambda t: t[:1, :, :1].expand(2, -1, 3, -1),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_memory_layouts(layout):
    check_pass(layout(randn(2, 4, 3, 5)), layout(randn(2, 4, 3, 5, seed=3)), TINY, heads=2)
    check_gate(layout(randn(2, 4, 3, 5)))


def test_empty_batch(launches):
    empty = randn(0, 4, 3, 2)
    assert focal_pass(empty, empty, randn(10, 4), randn(10), [1, 2], [1, 1], 2, 3).shape == empty.shape
    assert dual_gate(empty, randn(4, 1, 3, 3), randn(4)).shape == empty.shape
    assert not launches


def test_opcheck():
    x = randn(1, 4, 3, 5)
    torch.library.opcheck(focal_pass, (x, x + 1, randn(10, 4), randn(10), [1, 2], [1, 1], 2, 3))
    torch.library.opcheck(dual_gate, (x, randn(4, 1, 3, 3), randn(4)))


def build_block(backend=None):
    attention = partial(FocalSeparableAttention, num_heads=2, window=TINY, backend=backend)
    mixer = partial(ULM, attn_layer=attention)
    return LAMBlock(8, depth=1, mixer_layer=mixer, mlp_layer=partial(DGFN, backend=backend), device=DEVICE)


@pytest.fixture
def block():
    torch.manual_seed(0)
    return build_block().eval()


def test_fused_backend_is_opt_in(block, launches, monkeypatch):
    monkeypatch.delenv(BACKEND_VARIABLE, raising=False)
    x = randn(1, 8, 6, 7, dtype=torch.float32)
    fused_launches = {"_focal_pass_kernel": 2, "_dual_gate_kernel": 1}
    with torch.no_grad():
        expected = block(x)
        assert not launches.keys() & fused_launches.keys()
        launches.clear()
        with use_backend("fused"):
            torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-6)
        assert launches == fused_launches
        launches.clear()
        monkeypatch.setenv(BACKEND_VARIABLE, "fused")
        torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-6)
        assert launches == fused_launches
        launches.clear()
        eager = deepcopy(block)
        set_backend(eager, "eager")
        eager(x)
        assert not launches


def test_backend_argument_of_layers(launches):
    with torch.no_grad():
        build_block("fused")(randn(1, 8, 2, 3).float())
        assert launches == {"_focal_pass_kernel": 2, "_dual_gate_kernel": 1}
        FocalSeparableAttention(4, 2, TINY, backend="fused", device=DEVICE)(randn(1, 4, 2, 3).float())
        assert launches["_focal_pass_kernel"] == 4
        DGFN(4, backend="fused", device=DEVICE)(randn(1, 4, 2, 3).float())
    assert launches["_dual_gate_kernel"] == 2
    with pytest.raises(ValueError, match=r"^backend .*fast"):
        DGFN(4, backend="fast")


def test_gradients_use_aggregation_kernels(block, launches):
    x = randn(1, 8, 4, 5, dtype=torch.float32)
    block(x).sum().backward()
    expected = [parameter.grad.clone() for parameter in block.parameters()]
    block.zero_grad()
    launches.clear()
    with use_backend("fused"):
        block(x).sum().backward()
    assert launches == {"_forward_kernel": 2, "_grad_x_kernel": 2, "_grad_weights_kernel": 2}
    for parameter, grad in zip(block.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-4, atol=1e-5)


def test_autocast(block, launches):
    x = randn(1, 8, 4, 5, dtype=torch.float32)
    with torch.no_grad(), torch.autocast(DEVICE, torch.bfloat16):
        with use_backend("eager"):
            expected = block(x)
        with use_backend("fused"):
            result = block(x)
    assert launches == {"_focal_pass_kernel": 2, "_dual_gate_kernel": 1}
    torch.testing.assert_close(result, expected, rtol=2e-2, atol=2e-2)


def test_compile_and_export_fullgraph(block):
    x = randn(1, 8, 6, 7, dtype=torch.float32)
    with torch.no_grad(), use_backend("fused"):
        expected = block(x)
        compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), expected)
        program = torch.export.export(block, (x,))
    names = " ".join(str(node.target) for node in program.graph.nodes)
    assert "lamnet.focal_pass" in names
    assert "lamnet.dual_gate" in names


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_vmap():
    x, hidden = randn(3, 1, 4, 3, 5), randn(3, 1, 4, 3, 5, seed=3)
    matrix, bias, weight = randn(10, 4), randn(10), randn(4, 1, 3, 3)

    def compute(x, hidden):
        aggregated = focal_pass(x, hidden, matrix, bias, [1, 2], [1, 1], 2, 3)
        return dual_gate(aggregated, weight, bias[:4])

    expected = torch.stack([compute(*pair) for pair in zip(x, hidden, strict=True)])
    torch.testing.assert_close(torch.vmap(compute)(x, hidden), expected)


def test_flop_counts(block):
    x = randn(1, 8, 4, 5, dtype=torch.float32)
    counts = []
    for backend in ("triton", "fused"):
        with torch.no_grad(), use_backend(backend), FlopCounterMode(display=False) as counter:
            block(x)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]


def test_unavailable_backend_raises(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.delenv(BACKEND_VARIABLE, raising=False)
    with torch.no_grad(), pytest.raises(RuntimeError, match=r"'fused' .*cpu"):
        DGFN(4, backend="fused")(torch.zeros(1, 4, 2, 2))


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
def test_cuda_graph(block):
    x = randn(1, 8, 16, 16, dtype=torch.float32)
    with torch.no_grad(), use_backend("fused"):
        block(x)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = block(x)
        x.neg_()
        graph.replay()
        torch.testing.assert_close(out, block(x))


@pytest.mark.parametrize("kind", ["hook", "replacement"])
def test_hooked_or_replaced_convolutions_are_called(block, launches, kind):
    attention, mlp = block.layers[0].layer.spatial.horizontal, block.layers[1].layer
    calls = []
    if kind == "hook":
        for convolution in (attention.pointwise, mlp.depthwise):
            convolution.register_forward_hook(lambda module, *_: calls.append(module))
    else:

        class Adapter(torch.nn.Module):
            def __init__(self, base):
                super().__init__()
                self.base, self.weight, self.bias = base, base.weight, base.bias

            def forward(self, x):
                calls.append(self)
                return self.base(x)

        attention.pointwise, mlp.depthwise = Adapter(attention.pointwise), Adapter(mlp.depthwise)
    with torch.no_grad(), use_backend("fused"):
        block(randn(1, 8, 4, 5, dtype=torch.float32))
    assert len(calls) == 2
    assert launches == {"_forward_kernel": 1, "_focal_pass_kernel": 1}
