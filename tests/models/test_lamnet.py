"""LAMNet: sizes, complexity, arguments, initialization and export."""

import pytest
import torch
from torch import nn

from lamnet_layers import FocalWindow
from lamnet_models import LAMNet, complexity

TINY = {"embed_dim": 8, "num_blocks": 2, "depth": 1, "num_heads": 2, "window": ((1, 2), (1, 1))}


def tiny(**changes) -> LAMNet:
    torch.manual_seed(0)
    model = LAMNet(**(TINY | changes))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def printed_formats(macs: int) -> set[str]:
    """Formats in which papers print a count, such as 185G, 47.5G or 83.11G."""
    return {f"{macs / 1e9:.{digits}f}G" for digits in (0, 1, 2)}


@pytest.mark.parametrize(
    ("num_blocks", "scale", "params", "macs"),
    [(4, 2, 828364, "185G"), (5, 3, 1032683, "103G")],  # docs/paper.md computes all six
)
def test_complexity_table_3(num_blocks, scale, params, macs):
    cost = complexity(LAMNet(scale, num_blocks=num_blocks, device="meta"))
    assert cost.params == params
    assert macs in printed_formats(cost.macs)
    assert cost.input_size == (720 // scale, 1280 // scale)
    assert 1.02 < cost.operations / cost.macs < 1.1


@pytest.mark.parametrize(
    ("arguments", "params", "thousands", "macs"),
    [
        ({"window": ((1, 2), (3, 3))}, 822220, 822, "184G"),
        ({"window": ((1,), (6,))}, 813004, 813, "182G"),
        ({"channel_layer": "linear"}, 827980, 828, "185G"),
        ({"channel_layer": None}, 802636, 803, "180G"),
        ({"gate_layer": None}, 828364, 828, "185G"),
        # The paper does not give the width; 70 is nearest, with the count truncated to 760K.
        ({"mlp_layer": "gdfn", "hidden_dim": 70}, 760876, 760, "169.6G"),
        ({"mlp_layer": "ffn"}, 797644, 798, "179G"),
        # Printed as 839K and 186G. The paper gives neither width nor groups; 6 groups is nearest.
        ({"attn_layer": "mhdlsa", "num_heads": 6}, 837724, 838, "186.7G"),
    ],
    ids=str,
)
def test_complexity_table_4(arguments, params, thousands, macs):
    cost = complexity(LAMNet(scale=2, device="meta", **arguments))
    assert cost.params == params
    assert abs(params / 1000 - thousands) < 1
    assert macs in printed_formats(cost.macs)


def test_complexity_manual_count():
    height, width, c, k, p = 6, 7, 8, 5, 7
    cost = complexity(tiny(scale=2, num_blocks=1, gate_layer=None), (height, width))
    mixer = 2 * c * c + 2 * (c // 2) * (c // 4) + 2 * (c // 2) * (p + 2 * k)
    feed_forward = 2 * c * c + 9 * 2 * c + 2 * c * c
    convolutions = 9 * (3 * c + c * c + 3 * 4 * c)
    assert cost.macs == height * width * (mixer + feed_forward + convolutions)
    gates = complexity(tiny(scale=2, num_blocks=1), (height, width))
    assert gates.macs - cost.macs == 2 * height * width * (c // 2)
    assert gates.operations - gates.macs > cost.operations - cost.macs


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
def test_complexity_independent_of_dtype(dtype):
    model = tiny()
    assert complexity(model.to(dtype)) == complexity(tiny())
    assert next(model.parameters()).dtype == dtype


def test_complexity_other_network():
    class Network(nn.Module):
        in_chans, scale = 1, 2

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)

        def forward(self, x):
            x = nn.functional.gelu(self.conv(x))  # 900 multiply-accumulates, 100 elements
            return x - x.mean((2, 3), keepdim=True)  # 100 elements each

    cost = complexity(Network(), (5, 5))
    assert (cost.params, cost.macs, cost.operations, cost.receptive_field) == (36, 900, 1200, None)


@pytest.mark.parametrize(
    "changes", [{}, {"mlp_layer": "ffn"}, {"window": ((), ())}, {"depth": 2, "window": ((3,), (1,))}], ids=str
)
def test_receptive_field_equals_gradient_support(changes):
    model = tiny(scale=1, gate_layer=None, **changes).double()
    field = complexity(model, (8, 8)).receptive_field
    side = field + 4
    image = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    model(image)[0, :, side // 2, side // 2].sum().backward()
    support = image.grad.abs().sum((0, 1)).nonzero()
    assert (support.amax(0) - support.amin(0) + 1).tolist() == [field, field]


@pytest.mark.parametrize(
    "changes",
    [
        *({"scale": scale} for scale in (1, 2, 3, 4, 5)),
        {"in_chans": 1},
        {"in_chans": 4},
        {"embed_dim": 24, "num_heads": 3},
        {"embed_dim": 12, "num_heads": 1, "depth": 2},
        {"window": ((), ())},
        {"window": FocalWindow()},
        {"channel_layer": "linear"},
        {"channel_layer": None, "embed_dim": 6, "num_heads": 3},
        {"gate_layer": None},
        {"mlp_layer": "gdfn", "hidden_dim": 5},
        {"mlp_layer": "ffn"},
    ],
    ids=str,
)
def test_output_shape_and_backward(changes):
    model = tiny(**changes)
    image = torch.rand(2, model.in_chans, 5, 7)
    output = model(image)
    assert output.shape == (2, model.in_chans, 5 * model.scale, 7 * model.scale)
    output.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    copy = LAMNet(**model.config)
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy(image), output)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3)], ids=str)
def test_any_size(size):
    output = tiny()(torch.rand(1, 3, *size))
    assert output.shape == (1, 3, 4 * size[0], 4 * size[1])
    assert output.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(dtype):
    model, image = LAMNet(**TINY).eval(), torch.rand(1, 3, 6, 8)
    expected = model(image)
    assert (model.to(dtype)(image.to(dtype)).float() - expected).abs().max() < 0.02


def test_mean_subtracted_for_rgb_only():
    assert LAMNet(**TINY).mean.flatten().tolist() == pytest.approx([0.4488, 0.4371, 0.4040])
    assert not LAMNet(in_chans=4, **TINY).mean.any()
    assert "mean" not in LAMNet(**TINY).state_dict()


@pytest.mark.parametrize("assign", [False, True])
def test_meta_construction_then_load(assign):
    model = tiny()
    with torch.device("meta"):
        loaded = LAMNet(**TINY).eval()
    if not assign:
        loaded.to_empty(device="cpu").mean.fill_(torch.nan)  # the memory may contain anything
    loaded.load_state_dict(model.state_dict(), assign=assign)
    image = torch.rand(1, 3, 6, 8)
    assert torch.equal(loaded(image), model(image))


def test_initialization():
    torch.manual_seed(0)
    model = LAMNet()
    for name, parameter in model.named_parameters():
        if "norm.weight" in name or name.endswith("alpha"):
            assert (parameter == 1).all()
        elif name.endswith("bias"):
            assert (parameter == 0).all()
        elif parameter.numel() > 1000:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.1)


def test_convolutions_are_called_and_of_pytorch_class():
    # Profilers such as thop know classes by identity; they and LoRA wrappers rely on calls of each module.
    model = tiny()
    convolutions = {name: module for name, module in model.named_modules() if hasattr(module, "out_channels")}
    called = set()
    for name, module in convolutions.items():
        module.register_forward_hook(lambda *_, name=name: called.add(name))
    model(torch.rand(1, 3, 5, 6))
    assert called == set(convolutions)
    assert {type(module) for module in convolutions.values()} == {nn.Conv2d}


def test_gradient_checkpointing_equal_gradients():
    image = torch.rand(1, 3, 5, 6, dtype=torch.float64)
    gradients, calls = [], []
    for enable in (False, True):
        model = tiny().double().train()
        model.blocks[0].register_forward_pre_hook(lambda *_, enable=enable: calls.append(enable))
        model.set_grad_checkpointing(enable)
        model(image).sin().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert (calls.count(False), calls.count(True)) == (1, 2)  # recomputed in the backward pass
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed, rtol=1e-12, atol=1e-12)


def test_export_dynamic_size():
    model, image = tiny(scale=2, num_blocks=1), torch.rand(1, 3, 6, 7)
    sizes = {2: torch.export.Dim("height", min=1, max=256), 3: torch.export.Dim("width", min=1, max=256)}
    with torch.no_grad():
        exported = torch.export.export(model, (image,), dynamic_shapes=(sizes,)).module()
        for size in ((6, 7), (9, 4), (1, 1)):
            resized = torch.rand(1, 3, *size)
            torch.testing.assert_close(exported(resized), model(resized))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": 0}, "^scale .*0"),
        ({"scale": 2.0}, r"^scale .*2\.0"),
        ({"in_chans": True}, "^in_chans .*True"),
        ({"embed_dim": 10}, "^embed_dim .*2·num_heads = 4, got 10"),
        ({"embed_dim": 6, "num_heads": 1}, "^embed_dim .*= 4, got 6"),
        ({"num_blocks": "4"}, "^num_blocks .*'4'"),
        ({"depth": 0}, "^depth .*0"),
        ({"num_heads": -1}, "^num_heads .*-1"),
        ({"window": 23}, "^window .*23"),
        ({"window": ((1,), (1, 2))}, "^strides and steps"),
        ({"attn_layer": "local"}, "^attn_layer .*'local'"),
        ({"attn_layer": "mhdlsa"}, "^window .*'mhdlsa'"),
        ({"attn_layer": "mhdlsa", "window": None, "num_heads": 5}, "^num_heads .*dim = 4, got 5"),
        ({"channel_layer": "conv"}, "^channel_layer .*'conv'"),
        ({"gate_layer": "no"}, "^gate_layer .*'no'"),
        ({"mlp_layer": None}, "^mlp_layer .*None"),
        ({"hidden_dim": 0}, "^hidden_dim .*0"),
    ],
)
def test_invalid_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        LAMNet(**(TINY | changes))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.rand(3, 8, 8), r"^x .*\(3, 8, 8\)"),
        (torch.rand(1, 1, 8, 8), "^x .*3 channels, got 1"),
        (torch.rand(1, 3, 0, 8), r"^x .*\(1, 3, 0, 8\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"^x .*torch\.uint8"),
    ],
    ids=["dimensions", "channels", "empty", "dtype"],
)
def test_invalid_inputs(image, message):
    with pytest.raises(ValueError, match=message):
        tiny()(image)


@pytest.mark.parametrize("backend", ["triton", "fused"])
def test_complexity_independent_of_backend(backend, monkeypatch):
    expected = complexity(tiny())
    assert complexity(tiny(backend=backend)) == expected
    monkeypatch.setenv("LAMNET_BACKEND", backend)
    assert complexity(tiny()) == expected


def test_forward_features_and_head():
    model, image = tiny(), torch.rand(1, 3, 6, 7)
    features = model.forward_features(image)
    assert features.shape == (1, model.num_features, 6, 7)
    assert torch.equal(model.forward_head(features), model(image))
    assert model.num_features == model.head_hidden_size == 8


def test_classifier_refused():
    model = tiny()
    assert model.get_classifier() is None
    model.reset_classifier(0)
    with pytest.raises(ValueError, match=r"^num_classes .*10"):
        model.reset_classifier(10)
