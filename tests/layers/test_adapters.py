import pytest
import torch
from torch import nn

from lamnet_layers import DGFN, FocalSeparableAttention, TokenAdapter, create_layer


def test_adapter_tokens_and_channels_last_maps():
    layer = FocalSeparableAttention(8)
    x = torch.randn(2, 8, 5, 6)
    expected = layer(x)
    tokens = TokenAdapter(layer, grid=(5, 6))(x.flatten(2).transpose(1, 2))
    torch.testing.assert_close(tokens, expected.flatten(2).transpose(1, 2))
    last = TokenAdapter(layer)(x.permute(0, 2, 3, 1))
    torch.testing.assert_close(last, expected.permute(0, 2, 3, 1))


def test_adapter_default_grid_is_square():
    layer = DGFN(4)
    x = torch.randn(1, 36, 4)
    torch.testing.assert_close(TokenAdapter(layer)(x), TokenAdapter(layer, grid=(6, 6))(x))


def test_adapter_compile_and_backward():
    adapter = TokenAdapter(DGFN(8), grid=(4, 6))
    x = torch.randn(2, 24, 8, requires_grad=True)
    expected = adapter(x)
    traced = torch.compile(adapter, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(traced, expected)
    traced.sum().backward()
    assert all(parameter.grad is not None for parameter in adapter.parameters())


@pytest.mark.parametrize(
    ("grid", "shape", "message"),
    [
        (None, (1, 37, 4), "^x .*square.*37"),
        ((5, 6), (1, 31, 4), "^x .*5×6.*31"),
        ((5, 6), (30, 4), r"^x .*\(30, 4\)"),
    ],
)
def test_adapter_invalid_input_raises(grid, shape, message):
    with pytest.raises(ValueError, match=message):
        TokenAdapter(DGFN(4), grid)(torch.randn(shape))


def test_adapter_invalid_arguments_raise():
    with pytest.raises(ValueError, match=r"^grid"):
        TokenAdapter(DGFN(4), (5,))
    with pytest.raises(ValueError, match=r"^grid"):
        TokenAdapter(DGFN(4), (5, 0))
    for name in ("mask", "attn_mask"):
        with pytest.raises(ValueError, match=name):
            TokenAdapter(DGFN(4))(torch.randn(1, 36, 4), **{name: torch.ones(36, 36)})


def test_adapter_in_timm_swin():
    timm = pytest.importorskip("timm")
    model = timm.create_model("swin_tiny_patch4_window7_224", img_size=56, num_classes=3).eval()
    blocks = [module for module in model.modules() if type(module).__name__ == "SwinTransformerBlock"]
    blocks[0].attn = TokenAdapter(FocalSeparableAttention(96))  # not shifted; called with mask=None
    assert model(torch.randn(1, 3, 56, 56)).shape == (1, 3)


@pytest.mark.parametrize("name", ["fsa", "ulm", "csm", "linear", "lam", "dgfn"])
def test_create_layer_names(name):
    x = torch.randn(1, 16, 3, 5)
    layer = create_layer(name, 16, device="cpu", dtype=torch.float64)
    assert layer(x.double()).shape == x.shape


def test_create_layer_arguments_and_callables():
    assert create_layer("fsa", 16, num_heads=8).horizontal.num_heads == 8
    assert isinstance(create_layer(DGFN, 16), DGFN)
    assert isinstance(create_layer(lambda channels: nn.Conv2d(channels, channels, 1), 16), nn.Conv2d)
    with pytest.raises(ValueError, match=r"^layer .*'fas'"):
        create_layer("fas", 16)


def test_layers_as_timm_attention():
    timm = pytest.importorskip("timm")
    model = timm.create_model("resnet18", num_classes=3, block_args={"attn_layer": FocalSeparableAttention})
    assert isinstance(model.layer4[1].se, FocalSeparableAttention)
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.layer4[1].se.parameters())
