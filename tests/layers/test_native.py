"""CPU kernels: results and gradients against the layers in float64, conditions of use, and what runs when."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.library import opcheck
from torch.utils.flop_counter import FlopCounterMode

from lamnet_layers import (
    DGFN,
    ULM,
    FocalPass,
    FocalSeparableAttention,
    LAMBlock,
    PreNormResidual,
    TokenAdapter,
    available_backends,
    chunking,
    unavailable_reason,
    use_backend,
)
from lamnet_layers.backend import BACKEND_VARIABLE, select_backend
from lamnet_layers.ops.native import library

pytestmark = pytest.mark.skipif(
    "native" not in available_backends("cpu"), reason=f"needs the kernels: {unavailable_reason('native', 'cpu')}"
)

SHAPES = [(2, 32, 32), (1, 29, 37), (1, 1, 1), (3, 5, 130), (1, 70, 3), (2, 13, 49)]
WINDOWS = [None, ((1, 2), (3, 3)), ((1, 3, 5), (1, 2, 1)), ((), ()), ((2,), (2,))]


@pytest.fixture
def calls(monkeypatch):
    """Names of the kernels called, to detect a silent fallback."""
    names = []
    for function in ("forward", "backward"):
        original = getattr(library, function)

        def record(kernel, *args, _original=original, _function=function):
            names.append(f"{kernel} {_function}")
            return _original(kernel, *args)

        monkeypatch.setattr(library, function, record)
    return names


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def randomize(layer: nn.Module) -> nn.Module:
    """Set all parameters to values that matter: with zero biases and α = 1, some faults cannot be seen."""
    torch.manual_seed(0)
    for name, parameter in layer.named_parameters():
        nn.init.normal_(parameter, 1.0 if "alpha" in name or name.startswith("norm.weight") else 0.0, 0.2)
    return layer


def run(layer: nn.Module, x: torch.Tensor, grad: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return output and gradients by name."""
    x = x.detach().clone().requires_grad_()
    layer.zero_grad()
    out = layer(x)
    out.backward(grad)
    return {"out": out.detach(), "x": x.grad, **{name: p.grad.clone() for name, p in layer.named_parameters()}}


def assert_equal_to_float64(layer: nn.Module, x: torch.Tensor) -> None:
    grad = torch.randn_like(x)
    actual = run(layer, x, grad)
    expected = run(copy.deepcopy(layer).double(), x.double(), grad.double())
    for name, value in expected.items():
        assert actual[name].shape == value.shape
        error = (actual[name] - value).abs().max() / value.abs().max()
        assert error < (1e-5 if name == "out" else 3e-5), f"{name}: {error:.1e}"  # gradients are sums that may cancel


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["ulm", "dgfn"])
def test_residual_equals_float64(kind, shape, threads, calls):
    layer = randomize(PreNormResidual(24, ULM(24) if kind == "ulm" else DGFN(24)))
    assert_equal_to_float64(layer, torch.randn(shape[0], 24, *shape[1:]))
    kernel = {"ulm": "mixer", "dgfn": "feed_forward"}[kind]
    assert calls == [f"{kernel} forward", f"{kernel} backward"]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize(("dim", "heads"), [(16, 1), (24, 3), (40, 2)])
def test_attention_equals_float64(dim, heads, window, calls):
    attention = partial(FocalSeparableAttention, num_heads=heads, window=window)
    assert_equal_to_float64(randomize(attention(dim)), torch.randn(2, dim, 11, 21))
    assert calls == ["focal_pass forward"] * 2 + ["focal_pass backward"] * 2
    assert_equal_to_float64(randomize(ULM(2 * dim, attn_layer=attention)), torch.randn(2, 2 * dim, 11, 21))
    assert calls[4:] == ["mixer forward", "mixer backward"]


@pytest.mark.parametrize("dim", [32, 48, 64, 96])
def test_published_widths(dim):
    block = randomize(LAMBlock(dim, depth=1))
    assert_equal_to_float64(block, torch.randn(1, dim, 12, 17))


@pytest.mark.parametrize("hidden", [1, 5, 36])
def test_feed_forward_hidden_dim(hidden):
    assert_equal_to_float64(randomize(DGFN(6, hidden_dim=hidden)), torch.randn(2, 6, 9, 10))


@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x,
        lambda x: x.to(memory_format=torch.channels_last),
        lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
        lambda x: x[:, :, ::2, 3:],
        lambda x: x[:1].expand(3, -1, -1, -1),
        lambda x: x.flip(3).transpose(2, 3),
    ],
    ids=["contiguous", "channels_last", "rows", "slice", "expanded", "transposed"],
)
def test_memory_layouts(layout):
    x = layout(torch.randn(2, 16, 12, 18))
    layer = randomize(PreNormResidual(16, ULM(16, attn_layer=partial(FocalSeparableAttention, num_heads=2))))
    with torch.no_grad():
        out = layer(x)
        expected = layer(x.contiguous())
    torch.testing.assert_close(out, expected, rtol=0, atol=0)


def test_no_grad_equals_training_output():
    layer = randomize(PreNormResidual(16, ULM(16)))
    x = torch.randn(2, 16, 40, 110)
    with torch.no_grad():
        without = layer(x)
    torch.testing.assert_close(without, layer(x).detach(), rtol=1e-6, atol=1e-6)


def test_repeated_runs_are_identical(threads):
    layer = randomize(LAMBlock(16, depth=1))
    x, grad = torch.randn(2, 3, 16, 33, 20).unbind()
    first, second = run(layer, x, grad), run(layer, x, grad)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_output_does_not_depend_on_number_of_threads():
    layer = randomize(LAMBlock(16, depth=1))
    before, outputs = torch.get_num_threads(), []
    with torch.no_grad():
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            outputs.append(layer(torch.linspace(-1, 1, 2 * 16 * 41 * 53).view(2, 16, 41, 53)))
    torch.set_num_threads(before)
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


def test_kernels_take_large_maps_whole(calls, monkeypatch):
    monkeypatch.setattr(chunking, "_THRESHOLD", 0)
    monkeypatch.setattr(chunking, "_CHUNK_BYTES", 20 * 16 * 4)
    with torch.no_grad():
        LAMBlock(16, depth=1)(torch.randn(1, 16, 40, 90))
    assert calls == ["mixer forward", "feed_forward forward"]


def test_nan_propagates():
    x = torch.randn(1, 16, 20, 30)
    x[0, 3, 5, 7] = float("nan")
    for layer in (DGFN(16), FocalPass(16), ULM(16)):
        native = layer(x).isnan()
        with use_backend("eager"):
            assert torch.equal(native, layer(x).isnan())


@pytest.mark.parametrize("shape", [(0, 16, 8, 8), (2, 16, 1, 9)])
def test_empty_batch_and_one_row(shape):
    layer = PreNormResidual(16, ULM(16))
    x = torch.randn(shape, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.shape == shape
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_second_derivative():
    layer = randomize(ULM(16))
    x = torch.randn(1, 16, 6, 7, requires_grad=True)

    def penalty(layer, x):
        (grad,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        return torch.autograd.grad(grad.square().sum(), [x, *layer.parameters()], allow_unused=True)

    expected = penalty(copy.deepcopy(layer).double(), x.detach().double().requires_grad_())
    for actual, value in zip(penalty(layer, x), expected, strict=True):
        torch.testing.assert_close(actual.double(), value, rtol=1e-3, atol=1e-4 * value.abs().max().item())


def test_operator_registration():
    from lamnet_layers.ops.native import operators  # noqa: F401

    layer = randomize(FocalPass(8, num_heads=2))
    parameters = [p.detach().requires_grad_() for p in layer.parameters()]
    x = torch.randn(2, 8, 7, 9, requires_grad=True)
    arguments = ("focal_pass", [8, 2, 3], [1, 2, 4], [3, 2, 1], 1e-5, False, False, False)
    # Not test_aot_dispatch_dynamic: it compares the maps, whose padding is undefined. See the test with torch.compile.
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    for save in (False, True):
        opcheck(torch.ops.lamnet.native_layer.default, (x, parameters, *arguments, save), test_utils=tests)


def test_gradients_numerically():
    layer = randomize(DGFN(4))
    x = torch.randn(1, 4, 3, 5, requires_grad=True)
    # Float32: a wide step, and tolerances to match.
    assert torch.autograd.gradcheck(layer, (x,), eps=1e-2, atol=2e-2, rtol=2e-2, nondet_tol=0.0)


def test_flop_formula():
    from lamnet_layers.ops.native.operators import Layer, native_layer

    layer = Layer("feed_forward", [8, 8], [], [], 1e-5, False, False)
    parameters = [p.detach().requires_grad_() for p in DGFN(8).parameters()]
    x = torch.randn(1, 8, 10, 10, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        native_layer(x, parameters, layer, True)[0].sum().backward()
    forward = 2 * 100 * (2 * 8 * 16 + 9 * 16)
    assert counter.get_total_flops() == 3 * forward


def test_hook_on_inner_module_sees_its_input(calls):
    layer = PreNormResidual(16, ULM(16))
    shapes = []
    handle = layer.layer.spatial.vertical.pointwise.register_forward_hook(lambda _, args, out: shapes.append(out.shape))
    out = layer(torch.randn(1, 16, 6, 6))
    assert shapes == [(1, 52, 6, 6)]
    assert "mixer forward" not in calls
    handle.remove()
    torch.testing.assert_close(layer(torch.randn(1, 16, 6, 6)).shape, out.shape)
    assert calls[-1] == "mixer forward"


def test_backward_hook_on_inner_module_is_called():
    layer = DGFN(8)
    gradients = []
    layer.depthwise.register_full_backward_hook(lambda *_: gradients.append(1))
    layer(torch.randn(1, 8, 5, 5, requires_grad=True)).sum().backward()
    assert gradients == [1]


@pytest.mark.parametrize("path", ["spatial.vertical", "spatial", "channel", "exchange"])
def test_replaced_branches_are_called(path):
    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module, self.calls = module, 0

        def forward(self, *inputs):
            self.calls += 1
            return self.module(*inputs)

    mixer = ULM(16)
    expected = mixer(x := torch.randn(1, 16, 5, 6))
    wrapper = Wrapper(mixer.get_submodule(path))
    mixer.set_submodule(path, wrapper)
    torch.testing.assert_close(mixer(x), expected)
    assert wrapper.calls == 1


def test_replaced_convolutions_are_called():
    class Doubled(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    layer = DGFN(8)
    x = torch.randn(1, 8, 5, 5)
    replaced = copy.deepcopy(layer)
    replaced.proj_out = Doubled(16, 8, 1)
    replaced.proj_out.load_state_dict(layer.proj_out.state_dict())
    torch.testing.assert_close(replaced(x), 2 * layer(x))


def test_convolution_without_bias_runs_eagerly(calls):
    layer = DGFN(8)
    layer.proj_out.bias = None
    assert layer(torch.randn(1, 8, 5, 5)).isfinite().all()
    assert not calls


@pytest.mark.parametrize(
    "change",
    [
        lambda layer, x: (layer.double(), x.double()),
        lambda layer, x: (layer.half(), x.half()),
        lambda layer, x: (nn.utils.parametrizations.weight_norm(layer.proj_in) and layer, x),
    ],
    ids=["float64", "float16", "weight_norm"],
)
def test_other_precisions_and_parametrizations_run_eagerly(change, calls):
    layer, x = change(DGFN(8), torch.randn(1, 8, 5, 5))
    layer(x).sum().backward()
    assert not calls


def test_float16_autocast_runs_eagerly(calls):
    with torch.autocast("cpu", dtype=torch.float16):
        out = ULM(16)(torch.randn(1, 16, 6, 6))
    assert out.dtype == torch.float16
    assert not calls


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["ulm", "dgfn", "attention", "residual"])
def test_bfloat16_autocast(kind, dtype, calls):
    if not library.bf16_available():
        pytest.skip("needs AMX")
    layers = {"ulm": ULM(40), "dgfn": DGFN(40), "attention": FocalSeparableAttention(40)}
    layer = randomize(layers.get(kind) or LAMBlock(40, depth=1))
    x = torch.randn(2, 40, 13, 49).to(dtype)
    out_dtype = torch.float32 if kind == "residual" else torch.bfloat16
    grad = torch.randn(x.shape).to(out_dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with use_backend("eager"):
            eager = run(layer, x, grad)
        assert not calls
        actual = run(layer, x, grad)
    assert calls
    expected = run(copy.deepcopy(layer).double(), x.double(), grad.double())
    for name, value in expected.items():
        assert actual[name].dtype == eager[name].dtype
        error, eager_error = ((result[name] - value).norm() / value.norm() for result in (actual, eager))
        assert error < 2 * eager_error + 1e-3, f"{name}: {error:.1e}, eager {eager_error:.1e}"
    assert (actual["out"] - expected["out"]).norm() > 1e-5 * expected["out"].norm()  # in bfloat16, not float32


@pytest.mark.parametrize("kind", ["ulm", "residual"])
def test_bfloat16_layer(kind, calls):
    layer = randomize(ULM(16) if kind == "ulm" else LAMBlock(16, depth=1))
    x = torch.randn(2, 16, 9, 21)
    expected, layer = copy.deepcopy(layer)(x), layer.bfloat16()
    calls.clear()
    out = layer(x.bfloat16())
    assert calls
    assert out.dtype == torch.bfloat16
    assert (out - expected).norm() < 2e-2 * expected.norm()
    out.sum().backward()
    assert all(parameter.grad.dtype == torch.bfloat16 for parameter in layer.parameters())


def test_bfloat16_autocast_without_amx(monkeypatch, calls):
    monkeypatch.setattr(library, "bf16_available", lambda: False)
    layer, x = randomize(LAMBlock(16, depth=1)), torch.randn(1, 16, 7, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(x)
    assert "mixer forward" in calls
    assert torch.equal(out, layer(x))


def test_transforms_run_eagerly(calls):
    layer, x = DGFN(8), torch.randn(3, 1, 8, 5, 5)
    torch.testing.assert_close(torch.func.vmap(layer)(x)[1], layer(x[1]))
    calls.clear()
    torch.func.jvp(layer, (x[0],), (x[1],))
    assert not calls


def test_deepcopy_and_state_dict_unchanged(calls):
    layer = LAMBlock(16, depth=1)
    layer(torch.randn(1, 16, 5, 5))
    assert copy.deepcopy(layer).state_dict().keys() == layer.state_dict().keys()


@pytest.mark.parametrize("dynamic", [None, True])
def test_compile_fullgraph_with_gradients(dynamic, calls):
    torch._dynamo.reset()
    layer = randomize(PreNormResidual(16, ULM(16)))
    compiled = torch.compile(layer, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for size in ((6, 9), (11, 7)):
        x, grad = torch.randn(2, 1, 16, *size).unbind()
        actual, expected = run(compiled, x, grad), run(layer, x, grad)
        torch.testing.assert_close(list(actual.values()), list(expected.values()))
    assert "mixer backward" in calls


def test_export_has_no_kernel():
    layer = PreNormResidual(16, ULM(16)).eval()
    program = torch.export.export(layer, (torch.randn(1, 16, 6, 6),))
    assert "native" not in str(program.graph)


def test_token_adapter():
    layer = TokenAdapter(DGFN(16), grid=(4, 6))
    assert layer(torch.randn(2, 24, 16)).shape == (2, 24, 16)


def test_environment_variable_disables_kernels(monkeypatch):
    for value, expected in (("eager", "eager"), ("", "native")):
        monkeypatch.setenv(BACKEND_VARIABLE, value)
        assert select_backend(None, "cpu") == expected


def test_missing_library_is_reported(monkeypatch):
    from lamnet_layers.ops.native import library

    monkeypatch.setattr(library, "_library_path", lambda: None)
    library.unavailable_reason.cache_clear()
    try:
        assert "C++ compiler" in unavailable_reason("native", "cpu")
        assert "native" not in available_backends("cpu")
        DGFN(8)(torch.randn(1, 8, 4, 4))  # runs eagerly
        with pytest.raises(RuntimeError, match="native"), use_backend("native"):
            DGFN(8)(torch.randn(1, 8, 4, 4))
    finally:
        library.unavailable_reason.cache_clear()
