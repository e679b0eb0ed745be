"""Functions against their definitions: focal aggregation pixel by pixel, passes and gates by the naive references."""

import gc
import random

import pytest
import torch
from torch import Tensor, nn

from lamnet_layers import DGFN, FocalPass, FocalWindow, LAMBlock, focal_aggregate, use_backend
from lamnet_layers.functional import dual_gate, focal_pass
from lamnet_layers.ops import dual_gate as gate_reference
from lamnet_layers.ops import focal_aggregate as reference
from lamnet_layers.ops import focal_pass as pass_reference
from lamnet_layers.validation import check_feature_map as check

SIZES = [(1, 1), (1, 6), (6, 1), (2, 3), (5, 4), (3, 27)]
# One rounding of the result: half a ULP of the largest value, plus a margin for float32 sums.
ROUNDING = {torch.float64: 1e-13, torch.float32: 1e-6, torch.float16: 5.1e-4, torch.bfloat16: 4.1e-3}


def definition(x: Tensor, weights: Tensor, window: FocalWindow, heads: int, dim: int) -> Tensor:
    """The definition, term by term in Python floats; uses only the window's cells."""
    _, channels, height, width = x.shape
    values, weights, out = x.tolist(), weights.tolist(), torch.zeros(x.shape, dtype=torch.float64)
    for b, j, row, column in torch.cartesian_prod(*map(torch.arange, x.shape)).tolist():
        head, total = j // (channels // heads), 0.0
        for k, (offset, length) in enumerate(window.cells):
            first = offset if offset >= 0 else offset - length + 1
            cell = 0.0
            for step in range(first, first + length):
                p, q = (row, column + step) if dim in (-1, 3) else (row + step, column)
                if 0 <= p < height and 0 <= q < width:
                    cell += values[b][j][p][q]
            total += weights[b][head * window.taps + k][row][column] * cell / length
        out[b, j, row, column] = total
    return out


def sample(window: FocalWindow, size=(4, 5), heads=2, channels=4, batch=2, dtype=torch.float64, seed=0):
    """Random features and weights for a window."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (batch, channels, *size), (batch, heads * window.taps, *size)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def relative_error(result: Tensor, expected: Tensor) -> float:
    return ((result.double() - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("dim", [-1, -2, 3, 2])
@pytest.mark.parametrize("size", SIZES)
def test_published_window(size, dim):
    window = FocalWindow()
    x, weights = sample(window, size)
    result = focal_aggregate(x, weights, num_heads=2, dim=dim)
    assert result.shape == x.shape
    assert relative_error(result, definition(x, weights, window, 2, dim)) < 1e-14


@pytest.mark.parametrize("seed", range(12))
def test_random_windows_heads_and_sizes(seed):
    rng = random.Random(seed)
    rings = rng.randrange(4)
    window = FocalWindow([rng.randint(1, 7) for _ in range(rings)], [rng.randint(1, 3) for _ in range(rings)])
    heads = rng.choice((1, 2, 3, 6))
    x, weights = sample(window, (rng.randint(1, 7), rng.randint(1, 7)), heads, 6, batch=rng.randint(1, 2), seed=seed)
    for dim in (-1, -2):
        expected = definition(x, weights, window, heads, dim)
        for result in (
            focal_aggregate(x, weights, window, num_heads=heads, dim=dim),
            reference.naive(x, weights, window, heads, dim % 4),
        ):
            assert relative_error(result, expected) < 1e-14


@pytest.mark.parametrize("dim", [-1, -2])
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_dtypes(dtype, dim):
    window = FocalWindow()
    x, weights = sample(window, dtype=dtype)
    result = focal_aggregate(x, weights, num_heads=2, dim=dim)
    assert result.dtype == dtype
    assert relative_error(result, definition(x, weights, window, 2, dim)) < ROUNDING[dtype]


@pytest.mark.parametrize(
    ("x_dtype", "weights_dtype", "expected"),
    [
        (torch.float16, torch.float32, torch.float32),
        (torch.float64, torch.float16, torch.float64),
        (torch.float16, torch.bfloat16, torch.float32),
    ],
    ids=str,
)
def test_mixed_dtypes_promote(x_dtype, weights_dtype, expected):
    window = FocalWindow()
    x, weights = (t.to(dtype) for t, dtype in zip(sample(window), (x_dtype, weights_dtype), strict=True))
    result = focal_aggregate(x, weights, num_heads=2)
    assert result.dtype == expected
    assert relative_error(result, definition(x, weights, window, 2, -1)) < ROUNDING[expected]


def test_float16_cell_sums_no_overflow():
    window = FocalWindow((8,), (1,))
    x = torch.full((1, 1, 1, 24), 60000.0, dtype=torch.float16)
    weights = torch.full((1, window.taps, 1, 24), 1 / window.taps, dtype=torch.float16)
    result = focal_aggregate(x, weights, window, num_heads=1)
    assert result[..., 8:-8].sub(60000).abs().max() <= 64  # float16 spacing is 32 there


LAYOUTS = {
    "channels last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "transposed": lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
    "every other column": lambda t: torch.stack((t, torch.full_like(t, torch.nan)), dim=-1)[..., 0],
    "part of the channels": lambda t: torch.cat((torch.full_like(t, torch.nan), t), dim=1)[:, t.shape[1] :],
}


@pytest.mark.parametrize("dim", [-1, -2])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_memory_layouts(layout, dim):
    window = FocalWindow()
    x, weights = sample(window, dtype=torch.float32)
    expected = focal_aggregate(x, weights, num_heads=2, dim=dim)
    for inputs in ((layout(x), weights), (x, layout(weights)), (layout(x), layout(weights))):
        torch.testing.assert_close(focal_aggregate(*inputs, num_heads=2, dim=dim), expected, rtol=0, atol=0)


@pytest.mark.parametrize("dim", [-1, -2])
def test_broadcast_strides(dim):
    window = FocalWindow((1, 2), (1, 1))
    x, weights = (t[:1, :, :1, :1] for t in sample(window))
    expanded = [t.expand(3, -1, 4, 5) for t in (x, weights)]
    expected = focal_aggregate(*(t.contiguous() for t in expanded), window, num_heads=2, dim=dim)
    torch.testing.assert_close(focal_aggregate(*expanded, window, num_heads=2, dim=dim), expected, rtol=0, atol=0)


def test_inputs_unchanged():
    inputs = sample(FocalWindow())
    copies = [t.clone() for t in inputs]
    focal_aggregate(*inputs, num_heads=2)
    assert all(map(torch.equal, inputs, copies))


def test_empty_batch():
    x, weights = sample(FocalWindow(), batch=0)
    assert focal_aggregate(x, weights, num_heads=2).shape == x.shape


@pytest.mark.parametrize("dim", [-1, -2])
@pytest.mark.parametrize(
    "window", [FocalWindow((1, 3), (1, 1)), FocalWindow((2, 1), (2, 1)), FocalWindow((), ())], ids=str
)
def test_first_and_second_derivatives(window, dim):
    inputs = [t.requires_grad_() for t in sample(window, (2, 2), batch=1)]

    def function(x: Tensor, weights: Tensor) -> Tensor:
        return focal_aggregate(x, weights, window, num_heads=2, dim=dim)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_aggregates_single_axis():
    x, weights = sample(FocalWindow(), (5, 6))
    for dim, cross_dim in ((-1, -2), (-2, -1)):
        lines = [
            focal_aggregate(a, b, num_heads=2, dim=dim)
            for a, b in zip(x.split(1, cross_dim), weights.split(1, cross_dim), strict=True)
        ]
        torch.testing.assert_close(focal_aggregate(x, weights, num_heads=2, dim=dim), torch.cat(lines, cross_dim))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.zeros(4, 4, 5)}, r"^x .*\(4, 4, 5\)"),
        ({"x": torch.zeros(2, 4, 0, 5)}, r"^x .*\(2, 4, 0, 5\)"),
        ({"x": torch.zeros(2, 4, 4, 5, dtype=torch.int64)}, r"^x .*torch\.int64"),
        ({"x": [[1.0]]}, "^x .*list"),
        ({"weights": torch.zeros(2, 25, 4, 5)}, r"^weights .*\(2, 26, 4, 5\).*\(2, 25, 4, 5\)"),
        ({"weights": torch.zeros(1, 26, 4, 5)}, r"^weights .*\(1, 26, 4, 5\)"),
        ({"weights": torch.zeros(2, 26, 4, 1)}, r"^weights .*\(2, 26, 4, 1\)"),
        ({"weights": torch.zeros(2, 26, 4, 5).int()}, r"^weights .*torch\.int32"),
        ({"weights": torch.zeros(2, 26, 4, 5, device="meta")}, "^weights .*cpu.*meta"),
        ({"num_heads": 3}, "channels of x .*heads = 3, got 4"),
        ({"num_heads": 0}, "^num_heads .*0"),
        ({"num_heads": 2.0}, r"^num_heads .*2\.0"),
        ({"dim": 1}, "^dim .*got 1"),
        ({"dim": "width"}, "^dim .*'width'"),
        ({"window": 23}, "^window .*23"),
    ],
)
def test_invalid_arguments(changes, message):
    arguments = {"x": torch.zeros(2, 4, 4, 5), "weights": torch.zeros(2, 26, 4, 5), "num_heads": 2} | changes
    with pytest.raises(ValueError, match=message):
        focal_aggregate(**arguments)


@pytest.mark.parametrize("axis", ["horizontal", "vertical"])
def test_focal_pass_matches_naive(axis):
    torch.manual_seed(0)
    layer = FocalPass(6, 2, ((1, 3), (2, 1)), axis, dtype=torch.float64)
    x, dim = torch.randn(2, 6, 7, 9, dtype=torch.float64), 3 if axis == "horizontal" else 2
    convolutions = layer.depthwise, layer.pointwise
    result = focal_pass(x, *convolutions, layer.window, num_heads=2, dim=dim)
    hidden, weight, bias = layer.depthwise(x), layer.pointwise.weight, layer.pointwise.bias
    expected = pass_reference.naive(x, hidden, weight, bias, layer.window, 2, dim)
    assert relative_error(result, expected) < 1e-14
    assert torch.equal(layer(x), result)
    for name, value in {"num_heads": 4, "dim": 0, "window": 3}.items():
        with pytest.raises(ValueError, match=name):
            focal_pass(x, *convolutions, **{"num_heads": 2, name: value})
    with pytest.raises(ValueError, match=r"^x .*6 channels"):
        focal_pass(x[:, :5], *convolutions, layer.window, num_heads=2)


def test_dual_gate_matches_naive():
    torch.manual_seed(0)
    convolution = DGFN(3, dtype=torch.float64).depthwise
    x = torch.randn(2, 6, 7, 9, dtype=torch.float64)
    result = dual_gate(x, convolution)
    assert relative_error(result, gate_reference.naive(x, convolution.weight, convolution.bias)) < 1e-14
    with pytest.raises(ValueError, match=r"^x .*6 channels"):
        dual_gate(x[:, :4], convolution)
    with pytest.raises(ValueError, match=r"channels of x .*multiple"):
        dual_gate(x[:, :5], nn.Identity())


def test_each_tensor_is_validated_once(monkeypatch):
    validated = []
    for module in ("block", "functional", "mixer", "feed_forward", "focal_attention"):
        monkeypatch.setattr(
            f"lamnet_layers.{module}.check_feature_map", lambda name, x, *_: validated.append(x) or check(name, x)
        )
    with use_backend("eager"):
        LAMBlock(16, depth=2)(torch.rand(1, 16, 5, 6))
    assert len(validated) == 2 * 11 + 1  # norms, residuals, ULM, CSM, two passes, IEM, DGFN, gate; last residual
    assert len({id(x) for x in validated}) == len(validated)


def test_no_tensors_leaked():
    x, weights = torch.rand(1, 4, 6, 7), torch.rand(1, 4 * 13, 6, 7)

    def live() -> int:
        return sum(type(item) is Tensor for item in gc.get_objects())

    focal_aggregate(x, weights)
    gc.collect()
    gc.disable()
    try:
        before = live()
        for _ in range(3):
            focal_aggregate(x, weights)
        assert live() == before
    finally:
        gc.enable()
