"""Layers of the paper's table 4: contract, definitions, and their place in ULM, LAMBlock and LAMNet."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from lamnet_layers import ULM, LAMBlock, create_layer
from lamnet_models import LAMNet
from lamnet_models.paper.ablations import FFN, GDFN, MHDLSA

LAYERS = {
    "MHDLSA": partial(MHDLSA, 4, 3, 3),
    "ULM-MHDLSA": partial(ULM, 4, partial(MHDLSA, num_heads=2, kernel_size=3)),
    "GDFN": partial(GDFN, 4, 3),
    "FFN": partial(FFN, 4),
}

every_layer = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def build(name, dtype=torch.float32):
    """Layer with random parameters, none at its initial 0 or 1."""
    layer = LAYERS[name](dtype=torch.float64)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer.to(dtype)


def assert_equal(result, expected, tolerance):
    """Compare with a tolerance relative to the largest value."""
    assert result.shape == expected.shape
    assert (result.double() - expected.double()).abs().max() <= tolerance * expected.abs().max()


@every_layer
@pytest.mark.parametrize("size", [(1, 1), (1, 8), (9, 1), (3, 2)], ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)], ids=str)
def test_any_size_dtype_and_layout(name, size, dtype, tolerance):
    layer, x = build(name, dtype), torch.randn(2, 4, *size, dtype=dtype)
    expected = copy.deepcopy(layer).double()(x.double())
    result = layer(x)
    assert result.dtype == dtype
    assert_equal(result, expected, tolerance)
    assert_equal(layer(x.contiguous(memory_format=torch.channels_last)), expected, tolerance)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_equal(layer(x), expected, 5e-2)


@every_layer
def test_device_and_dtype_at_construction(name):
    layer = LAYERS[name](device="meta", dtype=torch.bfloat16)
    assert all(tensor.is_meta and tensor.dtype == torch.bfloat16 for tensor in layer.parameters())
    source, x = build(name), torch.randn(1, 4, 3, 5)
    layer = LAYERS[name](device="meta")
    layer.load_state_dict(source.state_dict(), assign=True)
    assert_equal(layer(x), source(x), 0)


@every_layer
def test_gradcheck(name):
    layer = build(name, torch.float64)
    names = [key for key, _ in layer.named_parameters()]

    def function(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)

    inputs = torch.randn(1, 4, 2, 3, dtype=torch.float64), *layer.parameters()
    assert torch.autograd.gradcheck(function, [tensor.detach().requires_grad_() for tensor in inputs])


@every_layer
def test_compile_fullgraph(name):
    torch.compiler.reset()
    layer, x = build(name), torch.randn(2, 4, 5, 6)
    assert_equal(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x), 1e-5)


@every_layer
def test_export_dynamic_shapes(name):
    layer, x = build(name), torch.randn(2, 4, 5, 6)
    batch, height, width = (torch.export.Dim(dim, min=1, max=64) for dim in ("batch", "height", "width"))
    with torch.no_grad():
        exported = torch.export.export(layer, (x,), dynamic_shapes=({0: batch, 2: height, 3: width},)).module()
        for size in ((2, 4, 9, 7), (1, 4, 1, 1)):
            resized = torch.randn(size)
            assert_equal(exported(resized), layer(resized), 1e-5)


@pytest.mark.parametrize(("channels", "heads", "size"), [(4, 2, 3), (7, 3, 5), (5, 5, 1), (6, 1, 3)])
def test_mhdlsa_definition(channels, heads, size):
    layer = MHDLSA(channels, heads, size, hidden_dim=2, dtype=torch.float64)
    x = torch.randn(2, channels, 5, 4, dtype=torch.float64)
    v = layer.proj_in(x)
    kernels = layer.expand(layer.depthwise(layer.reduce(v))).view(2, heads, size**2, 20)
    patches = nn.functional.unfold(v, size, padding=size // 2).view(2, channels, size**2, 20)
    head_of = [head for head in range(heads) for _ in torch.arange(channels).tensor_split(heads)[head]]
    expected = layer.proj_out((patches * kernels[:, head_of]).sum(2).view_as(v))
    assert_equal(layer(x), expected, 1e-13)
    assert (layer.window.size, layer.proj_in.bias, layer.proj_out.bias) == (size, None, None)


def test_gdfn_definition():
    layer, x = build("GDFN", torch.float64), torch.randn(2, 4, 5, 6, dtype=torch.float64)
    gate, value = layer.depthwise(layer.proj_in(x)).unflatten(1, (2, 3)).unbind(1)
    assert_equal(layer(x), layer.proj_out(nn.functional.gelu(gate) * value), 1e-13)


def test_ffn_definition():
    layer, x = build("FFN", torch.float64), torch.randn(2, 4, 5, 6, dtype=torch.float64)
    assert layer.hidden_dim == 8
    assert_equal(layer(x), layer.proj_out(nn.functional.gelu(layer.proj_in(x))), 1e-13)


@pytest.mark.parametrize("layer", [GDFN, FFN])
def test_mlp_layer_in_block(layer):
    block = LAMBlock(8, depth=1, mlp_layer=partial(layer, hidden_dim=5))
    assert isinstance(block.layers[1].layer, layer)
    with torch.no_grad():
        assert block(torch.randn(1, 8, 3, 5)).shape == (1, 8, 3, 5)
    assert isinstance(create_layer(layer, 16), layer)


def test_lamnet_layers_by_name():
    model = LAMNet(2, embed_dim=8, num_blocks=1, depth=1, attn_layer="mhdlsa", mlp_layer="gdfn", hidden_dim=3)
    mixer, mlp = (layer.layer for layer in model.blocks[0].layers)
    assert (type(mixer.spatial), mixer.spatial.kernel_size, mixer.spatial.num_heads) == (MHDLSA, 7, 4)
    assert (type(mlp), mlp.hidden_dim) == (GDFN, 3)


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda: MHDLSA(4, num_heads=5), "^num_heads .*dim = 4, got 5"),
        (lambda: MHDLSA(4, kernel_size=4), "^kernel_size .*4"),
        (lambda: MHDLSA(4, hidden_dim=0), "^hidden_dim .*0"),
        (lambda: LAMNet(attn_layer="mhdlsa", window=((2,), (1,))), "^window .*'mhdlsa'"),
        (lambda: LAMNet(attn_layer="mhdlsa", embed_dim=7), "^embed_dim .*= 2, got 7"),
        (lambda: GDFN(8, hidden_dim=0), "^hidden_dim .*0"),
        (lambda: FFN(8, hidden_dim=-1), "^hidden_dim .*-1"),
    ],
)
def test_invalid_arguments(construct, message):
    with pytest.raises(ValueError, match=message):
        construct()


@every_layer
@pytest.mark.parametrize(
    "wrong", [torch.zeros(4, 5, 6), torch.zeros(2, 5, 5, 6), "image.png"], ids=["3d", "5ch", "str"]
)
def test_invalid_input_raises(name, wrong):
    with pytest.raises(ValueError, match=r"^x must "):
        LAYERS[name]()(wrong)
