"""Equality with the original implementation, and sensitivity of the comparison to mistakes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lamnet_layers import DGFN, IEM, ULM, ChannelLayerNorm, FocalWindow
from lamnet_layers.ops import focal_aggregate, focal_pass
from lamnet_models import LAMNet, load_model

GOLDEN = ("lamnet_x2", "lamnet_large_x4", "window19_x2")
TOLERANCES = {torch.float64: 1e-9, torch.float32: 5e-5}  # relative to the largest value


def error(folder: Path, name: str, dtype: torch.dtype, change: Callable[[LAMNet], None] | None = None) -> float:
    """Maximum difference from the original output, relative to its largest value."""
    model = load_model(folder / f"{name}.pth").to(dtype)
    if change:
        change(model)
    golden = torch.load(folder / f"{name}_io.pt", weights_only=True)
    with torch.no_grad():
        output = model(golden["input"].to(dtype))
    return ((output.double() - golden["output"]).abs().max() / golden["output"].abs().max()).item()


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("name", GOLDEN)
def test_output_equals_original(shared, name, dtype):
    assert error(shared / "golden", name, dtype) < TOLERANCES[dtype]


def _patch_aggregation(patch: pytest.MonkeyPatch, aggregate: Callable[[Tensor, Tensor, FocalWindow, int, int], Tensor]):
    patch.setattr(focal_aggregate, "eager", aggregate)


def tanh_approximate_gelu(model, patch):
    gelu = F.gelu
    patch.setattr(F, "gelu", lambda x: gelu(x, approximate="tanh"))


def no_tanh(model, patch):
    patch.setattr(focal_pass, "predict", lambda hidden, pointwise: pointwise(hidden))


def gate_fixed_at_half(model, patch):
    patch.setattr(IEM, "forward", lambda self, c, a: (c / 2, a / 2))


def spatial_gate_fixed_at_half(model, patch):
    gates = IEM.gates
    patch.setattr(IEM, "gates", lambda self, c, a: (torch.full_like(c[:, :1], 0.5), gates(self, c, a)[1]))


def channel_gate_fixed_at_half(model, patch):
    gates = IEM.gates
    patch.setattr(IEM, "gates", lambda self, c, a: (gates(self, c, a)[0], torch.full_like(a[..., :1, :1], 0.5)))


def eps_1e_6(model, patch):
    for module in model.modules():
        if isinstance(module, ChannelLayerNorm):
            module.eps = 1e-6


def unbiased_variance(model, patch):
    def forward(self, x):
        variance, mean = torch.var_mean(x, dim=1, correction=1, keepdim=True)
        return (x - mean) / (variance + self.eps).sqrt() * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)

    patch.setattr(ChannelLayerNorm, "forward", forward)


def taps_reversed(model, patch):
    def aggregate(x, weights, window, heads, dim):
        reverse = weights.unflatten(1, (heads, -1)).flip(2).flatten(1, 2)
        return focal_aggregate.naive(x, reverse, window, heads, dim)

    _patch_aggregation(patch, aggregate)


def heads_interleaved(model, patch):
    def aggregate(x, weights, window, heads, dim):
        by_head = x.unflatten(1, (-1, heads)).transpose(1, 2).flatten(1, 2)
        result = focal_aggregate.naive(by_head, weights, window, heads, dim)
        return result.unflatten(1, (heads, -1)).transpose(1, 2).flatten(1, 2)

    _patch_aggregation(patch, aggregate)


def divisor_of_valid_pixels_only(model, patch):
    def aggregate(x, weights, window, heads, dim):
        size = x.shape[dim]
        pixels = torch.arange(size)[:, None] + torch.tensor([first for first, _ in window.spans])
        lengths = torch.tensor([length for _, length in window.spans])
        valid = (pixels + lengths).clamp(0, size) - pixels.clamp(0, size)
        factor = (lengths / valid.clamp(min=1)).T.to(x.dtype)
        factor = factor[:, None, :] if dim == 3 else factor[:, :, None]
        scaled = weights.unflatten(1, (heads, -1)) * factor
        return focal_aggregate.naive(x, scaled.flatten(1, 2), window, heads, dim)

    _patch_aggregation(patch, aggregate)


def sums_of_equation_9(model, patch):
    gates = IEM.gates
    patch.setattr(IEM, "gates", lambda self, c, a: (gates(self, c, a * a[0, 0].numel())[0], gates(self, c, a)[1]))


def mixer_halves_swapped(model, patch):
    _swap_halves(module.proj_in for module in model.modules() if isinstance(module, ULM))


def gated_halves_swapped(model, patch):
    _swap_halves(module.depthwise for module in model.modules() if isinstance(module, DGFN))


def joined_halves_swapped(model, patch):
    for module in model.modules():
        if isinstance(module, ULM | DGFN):
            module.proj_out.register_forward_pre_hook(lambda _, inputs: inputs[0].roll(inputs[0].shape[1] // 2, 1))


def _swap_halves(convolutions):
    for convolution in convolutions:
        convolution.register_forward_hook(lambda _, inputs, output: output.roll(output.shape[1] // 2, 1))


MISTAKES = (
    tanh_approximate_gelu,
    no_tanh,
    gate_fixed_at_half,
    spatial_gate_fixed_at_half,
    channel_gate_fixed_at_half,
    eps_1e_6,
    unbiased_variance,
    taps_reversed,
    heads_interleaved,
    divisor_of_valid_pixels_only,
    sums_of_equation_9,
    mixer_halves_swapped,
    gated_halves_swapped,
    joined_halves_swapped,
)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_mistakes_exceed_tolerance(shared, monkeypatch, mistake):
    wrong = error(shared / "golden", "window19_x2", torch.float64, lambda model: mistake(model, monkeypatch))
    assert wrong > 4 * max(TOLERANCES.values())  # well above the looser tolerance, in the smallest network
