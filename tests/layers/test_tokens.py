import pytest
import torch
from torch import nn

from lamnet_layers import DGFN, FFN, FocalSeparableAttention, TokenAdapter, create_layer


def test_tokens_and_maps_are_the_layers_feature_maps():
    layer = FocalSeparableAttention(8)
    x = torch.randn(2, 8, 5, 6)
    expected = layer(x)
    tokens = TokenAdapter(layer, grid=(5, 6))(x.flatten(2).transpose(1, 2))
    torch.testing.assert_close(tokens, expected.flatten(2).transpose(1, 2))
    last = TokenAdapter(layer)(x.permute(0, 2, 3, 1))
    torch.testing.assert_close(last, expected.permute(0, 2, 3, 1))


def test_no_grid_is_a_square_one():
    layer = DGFN(4)
    x = torch.randn(1, 36, 4)
    torch.testing.assert_close(TokenAdapter(layer)(x), TokenAdapter(layer, grid=(6, 6))(x))


def test_adapter_compiles_and_trains():
    adapter = TokenAdapter(FFN(8), grid=(4, 6))
    x = torch.randn(2, 24, 8, requires_grad=True)
    expected = adapter(x)
    traced = torch.compile(adapter, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(traced, expected)
    traced.sum().backward()
    assert all(parameter.grad is not None for parameter in adapter.parameters())


@pytest.mark.parametrize(
    ("grid", "shape", "words"),
    [
        (None, (1, 37, 4), "37 tokens, but there must be a square number"),
        ((5, 6), (1, 31, 4), "31 tokens, but there must be the grid's 5×6; a class token"),
        ((5, 6), (30, 4), "must be tokens"),
    ],
)
def test_adapter_refuses_what_is_no_grid(grid, shape, words):
    with pytest.raises(ValueError, match=words):
        TokenAdapter(DGFN(4), grid)(torch.randn(shape))


def test_adapter_refuses_wrong_arguments():
    with pytest.raises(ValueError, match="grid"):
        TokenAdapter(DGFN(4), (5,))
    with pytest.raises(ValueError, match="grid"):
        TokenAdapter(DGFN(4), (5, 0))
    with pytest.raises(ValueError, match="attn_mask"):
        TokenAdapter(DGFN(4))(torch.randn(1, 36, 4), attn_mask=torch.ones(36, 36))


@pytest.mark.parametrize("name", ["fsa", "ulm", "csm", "lam", "dgfn", "gdfn", "ffn"])
def test_layers_by_name(name):
    x = torch.randn(1, 16, 3, 5)
    layer = create_layer(name, 16, device="cpu", dtype=torch.float64)
    assert layer(x.double()).shape == x.shape


def test_layers_by_name_take_arguments_and_classes():
    assert create_layer("fsa", 16, heads=8).horizontal.heads == 8
    assert isinstance(create_layer(FFN, 16), FFN)
    assert isinstance(create_layer(lambda channels: nn.Conv2d(channels, channels, 1), 16), nn.Conv2d)
    with pytest.raises(ValueError, match="layer is 'fas', but it must be one of 'fsa'"):
        create_layer("fas", 16)


def test_our_layers_are_what_timm_takes_for_attention():
    timm = pytest.importorskip("timm")
    model = timm.create_model("resnet18", num_classes=3, block_args={"attn_layer": FocalSeparableAttention})
    assert isinstance(model.layer4[1].se, FocalSeparableAttention)
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.layer4[1].se.parameters())
