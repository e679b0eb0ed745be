"""Gradients of the eager aggregation against autograd through its forward pass."""

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from lamnet_layers import FocalPass, FocalWindow, focal_aggregate
from lamnet_layers.ops import focal_aggregate as implementation

SMALL = FocalWindow((1, 2), (1, 1))
WINDOWS = [FocalWindow(), SMALL, FocalWindow((3, 1, 5), (2, 1, 1)), FocalWindow((7,), (1,)), FocalWindow((), ())]
HEADS = 2
# Both accumulate in float32 or wider and round the result once.
TOLERANCE = {torch.float64: 1e-13, torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}

every_axis = pytest.mark.parametrize("dim", [-1, -2])


def sample(window=SMALL, size=(4, 5), batch=2, dtype=torch.float64) -> list[Tensor]:
    """Features and weights that require gradients."""
    generator = torch.Generator().manual_seed(0)
    shapes = (batch, 6, *size), (batch, HEADS * window.taps, *size)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


def aggregate(x: Tensor, weights: Tensor, window=SMALL, dim=-1) -> Tensor:
    return focal_aggregate(x, weights, window, num_heads=HEADS, dim=dim, backend="eager")


def reference(x: Tensor, weights: Tensor, window=SMALL, dim=-1) -> Tensor:
    """The aggregation recorded by autograd operator by operator."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(implementation, "_supports_custom_backward", lambda *_: False)
        return aggregate(x, weights, window, dim)


def gradients(function, inputs: list[Tensor], **options) -> tuple[Tensor, ...]:
    out = function(*inputs, **options)
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out.dtype)
    return out, *torch.autograd.grad(out, inputs, grad)


def assert_equal_gradients(inputs: list[Tensor], **options) -> None:
    """Assert equal outputs, and gradients equal up to rounding relative to the largest."""
    out, *grads = gradients(aggregate, inputs, **options)
    expected_out, *expected = gradients(reference, inputs, **options)
    assert torch.equal(out, expected_out)
    for tensor, grad, reference_grad in zip(inputs, grads, expected, strict=True):
        assert (grad.shape, grad.dtype) == (tensor.shape, tensor.dtype)
        scale = reference_grad.abs().max().item() if reference_grad.numel() else 1.0
        torch.testing.assert_close(grad, reference_grad, rtol=0, atol=TOLERANCE[tensor.dtype] * scale)


def test_aggregate_records_one_node():
    out = aggregate(*sample())
    nodes, names = [out.grad_fn], set()
    while nodes:
        node = nodes.pop()
        names.add(node.name())
        nodes += [parent for parent, _ in node.next_functions if parent is not None]
    assert "_AggregateBackward" in names
    assert not {"AddcmulBackward0", "SliceBackward0"} & names


@every_axis
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_gradients_windows(window, dim):
    assert_equal_gradients(sample(window, (7, 9)), window=window, dim=dim)


@every_axis
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_gradients_dtypes(dtype, dim):
    assert_equal_gradients(sample(FocalWindow(), (6, 7), dtype=dtype), window=FocalWindow(), dim=dim)


@every_axis
@pytest.mark.parametrize("dtypes", [(torch.float16, torch.float32), (torch.bfloat16, torch.float64)], ids=str)
def test_gradients_mixed_dtypes(dtypes, dim):
    for pair in (dtypes, dtypes[::-1]):
        x, weights = (t.detach().to(dtype).requires_grad_() for t, dtype in zip(sample(), pair, strict=True))
        assert_equal_gradients([x, weights], dim=dim)


@every_axis
@pytest.mark.parametrize(("batch", "size"), [(0, (4, 5)), (1, (1, 1)), (2, (1, 6)), (2, (6, 1)), (3, (2, 2))], ids=str)
def test_gradients_sizes(batch, size, dim):
    assert_equal_gradients(sample(FocalWindow(), size, batch), window=FocalWindow(), dim=dim)


LAYOUTS = {
    "channels last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "rows": lambda t: t.transpose(1, 2).contiguous().transpose(1, 2),
    "transposed": lambda t: t.mT.contiguous().mT,
    "part of the channels": lambda t: torch.cat((t, t), 1).contiguous(memory_format=torch.channels_last)[
        :, t.shape[1] :
    ],
    "broadcast": lambda t: t[:1].expand(2, -1, -1, -1),
}


@every_axis
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_gradients_memory_layouts(layout, dim):
    x, weights = (t.detach() for t in sample())
    for inputs in ((layout(x), weights), (x, layout(weights)), (layout(x), layout(weights))):
        assert_equal_gradients([t.detach().requires_grad_() for t in inputs], dim=dim)


@every_axis
def test_gradients_channels_last_output(dim):
    inputs = sample()

    def loss(function):
        return function(*inputs, dim=dim).permute(0, 2, 3, 1).contiguous().sin().sum()

    grads, expected = (torch.autograd.grad(loss(function), inputs) for function in (aggregate, reference))
    torch.testing.assert_close(grads, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("index", [0, 1])
def test_gradients_single_input(index):
    inputs = sample()
    inputs[1 - index].requires_grad_(False)
    for create_graph in (False, True):
        (grad,) = torch.autograd.grad(aggregate(*inputs).sin().sum(), inputs[index], create_graph=create_graph)
        (expected,) = torch.autograd.grad(reference(*inputs).sin().sum(), inputs[index])
        torch.testing.assert_close(grad, expected, rtol=1e-12, atol=1e-12)


@every_axis
@pytest.mark.parametrize("window", WINDOWS[1:3], ids=str)
def test_second_derivatives(window, dim):
    inputs = sample(window, (2, 3), batch=1)
    assert torch.autograd.gradcheck(lambda *tensors: aggregate(*tensors, window, dim), inputs)
    assert torch.autograd.gradgradcheck(lambda *tensors: aggregate(*tensors, window, dim), inputs)


@every_axis
def test_second_derivatives_weights_from_features(dim):
    x, mixing = sample(size=(2, 3), batch=1)[0], torch.randn(HEADS * SMALL.taps, 6, dtype=torch.float64)

    def function(x: Tensor) -> Tensor:
        return aggregate(x, torch.einsum("kc,bchw->bkhw", mixing, x).tanh(), dim=dim)

    assert torch.autograd.gradgradcheck(function, [x])


@pytest.mark.parametrize("create_graph", [False, True])
def test_batched_gradients(create_graph):
    inputs = tuple(sample(size=(2, 3), batch=1))
    jacobian = torch.autograd.functional.jacobian(aggregate, inputs, create_graph=create_graph, vectorize=True)
    expected = torch.autograd.functional.jacobian(reference, inputs)
    for result, expected_block in zip(jacobian, expected, strict=True):
        torch.testing.assert_close(result, expected_block, rtol=1e-12, atol=1e-12, check_stride=False)
        assert result.requires_grad == create_graph


def test_forward_mode_inputs_require_grad():
    x, weights = sample()
    with forward_ad.dual_level():
        out = aggregate(forward_ad.make_dual(x, x.detach()), weights)
        tangent = forward_ad.unpack_dual(out).tangent
    torch.testing.assert_close(tangent, aggregate(x, weights))  # linear in x


def test_forward_mode_through_backward():
    x, weights = sample()
    out = aggregate(x, weights)
    with forward_ad.dual_level():
        grad = forward_ad.make_dual(torch.ones_like(out), torch.ones_like(out))
        grads = torch.autograd.grad(out, (x, weights), grad)
        for value, tangent in map(forward_ad.unpack_dual, grads):
            torch.testing.assert_close(tangent, value)  # linear in the gradient of the result


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_func_transforms_inputs_require_grad():
    x, weights = sample()

    def loss(x: Tensor, weights: Tensor) -> Tensor:
        return aggregate(x[None], weights[None]).sin().sum()

    grads = torch.vmap(torch.func.grad(loss, argnums=(0, 1)))(x, weights)
    expected = torch.autograd.grad(reference(x, weights).sin().sum(), (x, weights))
    torch.testing.assert_close(grads, expected, rtol=1e-12, atol=1e-12)


def test_output_modified_in_place():
    inputs = sample()
    grads = torch.autograd.grad(aggregate(*inputs).mul_(2).sum(), inputs)
    expected = torch.autograd.grad(reference(*inputs).sum() * 2, inputs)
    torch.testing.assert_close(grads, expected, rtol=1e-12, atol=1e-12)


def test_backward_saves_only_inputs():
    inputs, saved = sample(FocalWindow()), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.data_ptr()) or t, lambda t: t):
        aggregate(*inputs, window=FocalWindow())
    assert saved == [t.data_ptr() for t in inputs]


@pytest.mark.parametrize("axis", ["horizontal", "vertical"])
def test_focal_pass_gradients_under_autocast(axis):
    torch.manual_seed(0)
    layer, x = FocalPass(6, HEADS, SMALL, axis=axis), sample(dtype=torch.float32)[0]
    tensors = [x, *layer.parameters()]
    expected = torch.autograd.grad(layer(x).sin().sum(), tensors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(x)
    for grad, exact in zip(torch.autograd.grad(out.float().sin().sum(), tensors), expected, strict=True):
        assert grad.dtype == torch.float32
        assert (grad - exact).abs().max() <= 5e-2 * exact.abs().max()


def test_predict_records_out_of_place_tanh():
    layer, (x, _) = FocalPass(6, HEADS, SMALL), sample(dtype=torch.float32)
    assert layer.predict(x).grad_fn.name() == "TanhBackward0"
