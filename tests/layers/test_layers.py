"""Common contract of all public layers: sizes, dtypes, layouts, autograd, compile, export."""

import copy
import os
import pickle
import shutil
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from lamnet_layers import (
    CSM,
    DGFN,
    IEM,
    ULM,
    ChannelLayerNorm,
    FocalPass,
    FocalSeparableAttention,
    FocalWindow,
    LAMBlock,
    PreNormResidual,
    ScaledResidual,
)

CHANNELS = 4
WINDOW = FocalWindow((1, 2), (1, 1))  # 7 pixels, 5 taps
ATTENTION = partial(FocalSeparableAttention, num_heads=2, window=WINDOW)

LAYERS = {
    "ChannelLayerNorm": partial(ChannelLayerNorm, CHANNELS),
    "ScaledResidual": partial(ScaledResidual, CHANNELS),
    "PreNormResidual": lambda **factory: PreNormResidual(CHANNELS, CSM(CHANNELS, **factory), **factory),
    "FocalPass": partial(FocalPass, CHANNELS, 2, WINDOW, axis="vertical"),
    "FocalSeparableAttention": partial(FocalSeparableAttention, CHANNELS, 2, WINDOW),
    "CSM": partial(CSM, CHANNELS),
    "IEM": lambda **_: IEM(),
    "ULM": partial(ULM, CHANNELS, ATTENTION),
    "ULM-alternatives": partial(ULM, CHANNELS, nn.Identity, "linear", None),
    "DGFN": partial(DGFN, CHANNELS),
    "LAMBlock": partial(LAMBlock, CHANNELS, 1, partial(ULM, attn_layer=ATTENTION)),
}
TWO_INPUTS = ("ScaledResidual", "IEM")

every_layer = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def build(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Layer with random parameters, none at its initial 0 or 1."""
    layer = LAYERS[name](dtype=torch.float64)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer.to(dtype)


def sample(name: str, size=(5, 6), batch=2, dtype=torch.float32) -> tuple[Tensor, ...]:
    return tuple(torch.randn(batch, CHANNELS, *size, dtype=dtype) for _ in range(1 + (name in TWO_INPUTS)))


def outputs(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    result = layer(*inputs)
    return result if isinstance(result, tuple) else (result,)


def assert_equal(results: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float = 1e-5) -> None:
    """Compare with a tolerance relative to the largest value."""
    for result, reference in zip(results, expected, strict=True):
        assert result.shape == reference.shape
        error = (result.double() - reference.double()).abs().max() / reference.abs().max()
        assert error <= tolerance


@every_layer
@pytest.mark.parametrize("size", [(1, 1), (1, 8), (9, 1), (3, 2)], ids=str)
def test_any_size(name, size):
    inputs = sample(name, size)
    for output in outputs(build(name), inputs):
        assert output.shape == inputs[0].shape
        assert output.isfinite().all()


@every_layer
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 5e-2)], ids=str
)
def test_dtypes(name, dtype, tolerance):
    layer, inputs = build(name, dtype), sample(name, dtype=dtype)
    expected = outputs(copy.deepcopy(layer).double(), tuple(t.double() for t in inputs))
    results = outputs(layer, inputs)
    assert all(result.dtype == dtype for result in results)
    assert_equal(results, expected, tolerance)


@every_layer
def test_autocast(name):
    layer, inputs = build(name), sample(name)
    expected = outputs(layer, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        results = outputs(layer, inputs)
    assert_equal(results, expected, 5e-2)
    if name != "IEM":  # no parameters
        sum(result.float().sum() for result in results).backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in layer.parameters())


@every_layer
def test_memory_layouts(name):
    layer, inputs = build(name), sample(name)
    expected = outputs(layer, inputs)
    channels_last = tuple(t.contiguous(memory_format=torch.channels_last) for t in inputs)
    assert_equal(outputs(layer, channels_last), expected)
    assert_equal(outputs(copy.deepcopy(layer).to(memory_format=torch.channels_last), channels_last), expected)
    assert_equal(outputs(layer, tuple(t.mT.contiguous().mT for t in inputs)), expected)
    assert_equal(outputs(layer, tuple(torch.cat((t, t), dim=3)[..., :6] for t in inputs)), expected)
    broadcast = tuple(t[:1].expand(2, -1, -1, -1) for t in inputs)
    assert_equal(outputs(layer, broadcast), outputs(layer, tuple(t.clone() for t in broadcast)))


@every_layer
def test_device_and_dtype_at_construction(name):
    layer = LAYERS[name](device="meta", dtype=torch.bfloat16)
    assert all(tensor.is_meta for tensor in layer.state_dict().values())
    assert all(parameter.dtype == torch.bfloat16 for parameter in layer.parameters())
    inputs = tuple(t.to("meta") for t in sample(name, dtype=torch.bfloat16))
    assert all(output.is_meta and output.shape == inputs[0].shape for output in outputs(layer, inputs))


@every_layer
def test_meta_construction_then_load(name):
    layer, inputs = build(name), sample(name)
    filled = LAYERS[name](device="meta").to_empty(device="cpu")
    filled.load_state_dict(layer.state_dict())
    assert_equal(outputs(filled, inputs), outputs(layer, inputs), 0)
    assigned = LAYERS[name](device="meta")
    assigned.load_state_dict(layer.state_dict(), assign=True)
    assert_equal(outputs(assigned, inputs), outputs(layer, inputs), 0)


@every_layer
def test_copy_pickle_and_state_dict(name):
    layer, inputs = build(name), sample(name)
    fresh = LAYERS[name]()
    fresh.load_state_dict(layer.state_dict())
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), fresh):
        assert_equal(outputs(twin, inputs), outputs(layer, inputs), 0)
        assert repr(twin) == repr(layer)


@every_layer
def test_gradcheck(name):
    layer, inputs = build(name, torch.float64), sample(name, (2, 3), batch=1, dtype=torch.float64)
    names = [key for key, _ in layer.named_parameters()]

    def function(*tensors: Tensor) -> tuple[Tensor, ...]:
        parameters = dict(zip(names, tensors[len(inputs) :], strict=True))
        return torch.func.functional_call(layer, parameters, tensors[: len(inputs)])

    tensors = [tensor.detach().requires_grad_() for tensor in (*inputs, *layer.parameters())]
    assert torch.autograd.gradcheck(function, tensors)


@every_layer
def test_compile_fullgraph(name):
    torch.compiler.reset()
    layer, inputs = build(name), tuple(t.requires_grad_() for t in sample(name))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    expected, results = outputs(layer, inputs), outputs(compiled, inputs)
    assert_equal(results, expected)
    tensors = (*inputs, *layer.parameters())
    gradients = [torch.autograd.grad(sum(o.sin().sum() for o in out), tensors) for out in (results, expected)]
    assert_equal(*gradients, tolerance=1e-4)


def test_compile_fullgraph_autocast():
    torch.compiler.reset()
    layer, inputs = build("ULM"), sample("ULM")
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_equal(outputs(compiled, inputs), outputs(layer, inputs))


@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="needs a C++ compiler")
@pytest.mark.parametrize(
    "name", ["DGFN", *(pytest.param(name, marks=pytest.mark.slow) for name in LAYERS if name != "DGFN")]
)
def test_compile_inductor_any_size_with_gradients(name):
    torch.compiler.reset()
    layer = build(name)
    compiled = torch.compile(layer, fullgraph=True)
    for size, batch in (((5, 6), 2), ((9, 7), 1)):
        inputs = [x.requires_grad_() for x in sample(name, size, batch)]
        tensors = [*inputs, *layer.parameters()]
        expected, results = outputs(layer, inputs), outputs(compiled, inputs)
        assert_equal(results, expected)
        gradients = [torch.autograd.grad(sum(y.square().sum() for y in ys), tensors) for ys in (results, expected)]
        assert_equal(*gradients)


@every_layer
def test_export_dynamic_shapes(name):
    layer, inputs = build(name), sample(name)
    batch, height, width = (torch.export.Dim(dim, min=1, max=64) for dim in ("batch", "height", "width"))
    with torch.no_grad():
        exported = torch.export.export(
            layer, inputs, dynamic_shapes=tuple({0: batch, 2: height, 3: width} for _ in inputs)
        ).module()
        for size, count in (((5, 6), 2), ((9, 7), 3), ((1, 1), 1), ((1, 4), 2)):
            resized = sample(name, size, count)
            assert_equal(outputs(exported, resized), outputs(layer, resized))


def test_channel_layer_norm_definition():
    norm, (x,) = build("ChannelLayerNorm", torch.float64), sample("ChannelLayerNorm", dtype=torch.float64)
    variance, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
    expected = (x - mean) / (variance + 1e-5).sqrt() * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
    assert_equal((norm(x),), (expected,), 1e-14)


def test_iem_definition():
    c, a = sample("IEM", dtype=torch.float64)
    gated_c, gated_a = IEM()(c, a)
    pixels = c.shape[2] * c.shape[3]
    spatial = torch.sigmoid(torch.einsum("bj,bjhw->bhw", a.mean((2, 3)), c) / CHANNELS)
    channel = torch.sigmoid(torch.einsum("bjhw,bhw->bj", a, c.mean(1)) / pixels)
    assert_equal((gated_c, gated_a), (c * spatial[:, None], a * channel[:, :, None, None]), 1e-14)


@pytest.mark.parametrize("autocast", [False, True])
def test_iem_float16_large_values(autocast):
    # Sums over 16,384 pixels of products near 4·10⁸; the float16 maximum is 65,504.
    shape = (1, CHANNELS, 128, 128)
    c, a = ((2 * torch.rand(shape) - 1) * 20000 + 100 for _ in range(2))
    c, a = c.half(), a.half()
    exact = [gate.double() for gate in IEM().gates(c.float(), a.float())]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        gates, results = IEM().gates(c, a), IEM()(c, a)
    for gate, reference in zip(gates, exact, strict=True):
        assert gate.dtype == torch.float32
        torch.testing.assert_close(gate.double(), reference, rtol=1e-5, atol=1e-6)
    assert all(result.dtype == torch.float16 and result.isfinite().all() for result in results)
    assert_equal(results, (c.double() * exact[0], a.double() * exact[1]), 1e-3)


def test_scaled_residual_initial_identity():
    shortcut, branch = sample("ScaledResidual")
    torch.testing.assert_close(ScaledResidual(CHANNELS)(shortcut, branch), shortcut + branch)


@pytest.mark.parametrize("strict", [True, False])
def test_load_state_dict_other_window_raises(strict):
    source, target = (FocalSeparableAttention(4, 1, window) for window in (((1, 2), (2, 1)), ((2, 1), (1, 2))))
    assert [t.shape for t in source.state_dict().values()] == [t.shape for t in target.state_dict().values()]
    with pytest.raises(RuntimeError, match=r"cells .*FocalWindow"):
        target.load_state_dict(source.state_dict(), strict=strict)


def test_load_state_dict_exchange_mismatch_raises():
    with_exchange, without_exchange = ULM(8), ULM(8, gate_layer=None)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*without_exchange"):
        with_exchange.load_state_dict(without_exchange.state_dict())
    with pytest.raises(RuntimeError, match=r"Missing key.*without_exchange"):
        without_exchange.load_state_dict(with_exchange.state_dict())


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda: ChannelLayerNorm(0), "^dim .*0"),
        (lambda: ScaledResidual(1.5), r"^dim .*1\.5"),
        (lambda: PreNormResidual("8", nn.Identity()), "^dim .*'8'"),
        (lambda: FocalPass(6, num_heads=4), "^dim .*num_heads = 4, got 6"),
        (lambda: FocalPass(8, num_heads=0), "^num_heads .*0"),
        (lambda: FocalPass(8, axis="diagonal"), "^axis .*'diagonal'"),
        (lambda: FocalPass(8, window=23), "^window .*23"),
        (lambda: FocalSeparableAttention(6, num_heads=4), "^dim .*6"),
        (lambda: FocalSeparableAttention(8, window=((1,), (0,))), r"^steps\[0\] .*0"),
        (lambda: ULM(8, attn_layer="global"), "^layer .*'global'"),
        (lambda: ULM(7), "^dim .*= 2, got 7"),
        (lambda: IEM(0), "^dim .*0"),
        (lambda: CSM(3), "^dim .*= 2, got 3"),
        (lambda: ULM(12), "^dim .*num_heads = 4, got 6"),
        (lambda: ULM(6, partial(FocalSeparableAttention, num_heads=1)), "^dim .*= 2, got 3"),
        (lambda: ULM(8, channel_layer="mlp"), "^layer .*'mlp'"),
        (lambda: DGFN(True), "^dim .*True"),
        (lambda: DGFN(8, hidden_dim=0), "^hidden_dim .*0"),
        (lambda: LAMBlock(8, depth=0), "^depth .*0"),
        (lambda: LAMBlock(8, mlp_layer="mlp"), "^layer .*'mlp'"),
    ],
)
def test_invalid_arguments(construct, message):
    with pytest.raises(ValueError, match=message):
        construct()


@every_layer
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.zeros(CHANNELS, 5, 6), r"\(4, 5, 6\)"),
        (torch.zeros(2, CHANNELS, 0, 6), r"\(2, 4, 0, 6\)"),
        (torch.zeros(2, CHANNELS, 5, 6, dtype=torch.uint8), r"torch\.uint8"),
        ("image.png", "str"),
        (torch.zeros(2, 5, 5, 6), r"\(2, 5, 5, 6\)"),
    ],
    ids=["dimensions", "empty", "dtype", "not a tensor", "channels"],
)
def test_invalid_inputs(name, wrong, message):
    argument = {"ScaledResidual": "branch", "IEM": "(c|a)"}.get(name, "x")
    inputs = [*sample(name)[1:], wrong] if name == "ScaledResidual" else [wrong, *sample(name)[1:]]
    with pytest.raises(ValueError, match=f"^{argument} must .*{message}"):
        LAYERS[name]()(*inputs)


@pytest.mark.parametrize(
    ("layer", "name"), [(ScaledResidual(CHANNELS), "shortcut"), (IEM(), "a")], ids=["residual", "IEM"]
)
def test_mismatched_shapes_not_broadcast(layer, name):
    x = torch.zeros(2, CHANNELS, 5, 6)
    with pytest.raises(ValueError, match=f"^{name} must .*shape"):
        layer(x, x[:1])


@every_layer
def test_empty_batch(name, threads):
    layer = build(name)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        inputs = [x.contiguous(memory_format=memory_format).requires_grad_() for x in sample(name, batch=0)]
        results = outputs(layer, inputs)
        sum(result.sum() for result in results).backward()
        assert all(result.shape == inputs[0].shape for result in results)
        assert all(x.grad.shape == x.shape for x in inputs)


@every_layer
def test_fx_symbolic_trace_any_size(name):
    layer = build(name)
    traced = torch.fx.symbolic_trace(layer)
    for size in ((5, 6), (1, 9)):
        inputs = sample(name, size)
        for result, expected in zip(outputs(traced, inputs), outputs(layer, inputs), strict=True):
            torch.testing.assert_close(result, expected)


@every_layer
@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_jit_script_refused(name):
    with pytest.raises(RuntimeError, match=r"torch\.jit\.script.*torch\.export"):
        torch.jit.script(build(name))


@every_layer
def test_autocast_dtype(name):
    layer, inputs = build(name), sample(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        results = outputs(layer, inputs)
    keeps_dtype = name in ("ChannelLayerNorm", "ScaledResidual", "PreNormResidual", "LAMBlock", "IEM")
    assert {result.dtype for result in results} == {torch.float32 if keeps_dtype else torch.bfloat16}


@pytest.mark.parametrize("with_gradients", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("layer", [CSM(16), DGFN(16), ULM(16), LAMBlock(16, 2)], ids=lambda layer: type(layer).__name__)
def test_output_has_memory_format_of_input(layer, memory_format, with_gradients):
    with torch.set_grad_enabled(with_gradients):
        output = layer(torch.rand(2, 16, 6, 10).contiguous(memory_format=memory_format))
    assert output.is_contiguous(memory_format=memory_format)


def test_lam_block_calls_replaced_layers():
    block, (x,) = build("LAMBlock"), sample("LAMBlock")
    mixer, _ = block.layers
    block.layers[0], block.layers[1] = checkpoint_wrapper(mixer), nn.Identity()
    calls = []
    block.layers[0].register_forward_hook(lambda *_: calls.append(1))
    assert_equal((block(x),), (block.residual(x, mixer(x)),))
    assert calls
