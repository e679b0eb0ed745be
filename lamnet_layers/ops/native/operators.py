"""PyTorch operators of the CPU kernels: the forward and the backward pass of a layer as one operator each."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ...fusion import is_channels_last
from ...window import FocalWindow
from .. import focal_aggregate
from . import library


class Layer(NamedTuple):
    """A layer without its parameters, as passed to the operators.

    Attributes:
        kernel: ``"focal_pass"``, ``"mixer"`` or ``"feed_forward"``.
        sizes: Sizes of the layer: (dim, num_heads, aggregation axis), (dim, channels of the bottleneck, num_heads) or
            (dim, hidden channels).
        strides: Strides of the window.
        steps: Steps of the window.
        eps: Added to the variance by the norm.
        norm: Whether the input is normalized.
        residual: Whether the output is scaled and added to the input.
        bf16: Whether matrix products are in bfloat16 if the processor has AMX; everything else is in float32.
    """

    kernel: str
    sizes: list[int]
    strides: list[int]
    steps: list[int]
    eps: float
    norm: bool
    residual: bool
    bf16: bool = False

    @property
    def window(self) -> FocalWindow:
        """The focal window."""
        return FocalWindow(self.strides, self.steps)

    def config(self) -> ctypes.Structure:
        """Return the configuration of the kernel."""
        bf16 = self.bf16 and library.bf16_available()
        if self.kernel == "feed_forward":
            return library.FeedForwardConfig(*self.sizes, self.eps, bf16)
        cells = library.window_cells(tuple(self.strides), tuple(self.steps))
        if self.kernel == "mixer":
            return library.MixerConfig(*self.sizes, *cells, self.eps, bf16)
        dim, num_heads, axis = self.sizes
        return library.FocalPassConfig(dim, num_heads, *cells, axis == 2, bf16)

    def slots(self, parameters: list[Tensor]) -> list[Tensor | None]:
        """Return the parameters with None for the absent ones."""
        if self.kernel == "focal_pass":
            return parameters
        return [*([] if self.norm else [None, None]), *parameters, *([] if self.residual else [None])]

    def reference(self, x: Tensor, parameters: list[Tensor]) -> Tensor:
        """Return the output of the layer by definition, in plain PyTorch."""
        if self.kernel == "focal_pass":
            return self._focal_pass(x, parameters, self.sizes[1], self.sizes[2])
        gain, shift, *weights, alpha = self.slots(parameters)
        branch = x
        if self.norm:
            branch = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), gain, shift, self.eps).permute(0, 3, 1, 2)
        branch = self._mixer(branch, weights) if self.kernel == "mixer" else _feed_forward(branch, weights)
        return x + alpha * branch if self.residual else branch

    def _focal_pass(self, x: Tensor, parameters: list[Tensor], num_heads: int, dim: int) -> Tensor:
        kernel, kernel_bias, projection, bias = parameters
        hidden = F.conv2d(x, kernel, kernel_bias, padding="same", groups=x.shape[1])
        weights = F.conv2d(hidden, projection, bias).tanh()
        return focal_aggregate.eager(x, weights, self.window, num_heads, dim)

    def _mixer(self, x: Tensor, parameters: list[Tensor]) -> Tensor:
        first, reduce, expand = (parameters[i : i + 2] for i in (0, 2, 4))
        c, a = F.conv2d(x, *first).chunk(2, 1)
        c = F.conv2d(F.conv2d(c, *reduce).relu(), *expand)
        for dim, start in ((3, 6), (2, 10)):
            a = self._focal_pass(a, parameters[start : start + 4], self.sizes[2], dim)
        spatial = (c * a.mean((2, 3), keepdim=True)).mean(1, keepdim=True).sigmoid()
        channel = (a * c.mean(1, keepdim=True)).mean((2, 3), keepdim=True).sigmoid()
        return F.conv2d(torch.cat((c * spatial, a * channel), 1), *parameters[-2:])

    def multiplications(self) -> int:
        """Return the number of multiplications per pixel in convolutions and aggregations."""
        dim = self.sizes[0]
        if self.kernel == "feed_forward":
            return 2 * self.sizes[1] * (2 * dim + 9)
        num_heads, window = self.sizes[-1] if self.kernel == "mixer" else self.sizes[1], self.window
        width = dim // 2 if self.kernel == "mixer" else dim
        one_pass = width * (window.size + num_heads * window.taps + window.taps)
        return 2 * dim**2 + 2 * width * self.sizes[1] + 2 * one_pass if self.kernel == "mixer" else one_pass


def _feed_forward(x: Tensor, parameters: list[Tensor]) -> Tensor:
    first, depthwise, last = (parameters[i : i + 2] for i in (0, 2, 4))
    hidden = F.conv2d(x, *first)
    x1, x2 = F.conv2d(hidden, *depthwise, padding=1, groups=hidden.shape[1]).chunk(2, 1)
    gate = F.gelu(x1)
    return F.conv2d(torch.cat((gate * x1, gate * x2), 1), *last)


# Defined without torch.library.custom_op, whose conversions take as long as a layer of a small image.
_LIBRARY = torch.library.Library("lamnet", "FRAGMENT")
_LAYER = "str kernel, SymInt[] sizes, SymInt[] strides, SymInt[] steps, float eps, bool norm, bool residual, bool bf16"
_LIBRARY.define(f"native_layer(Tensor x, Tensor[] parameters, {_LAYER}, bool save) -> (Tensor, Tensor)")
_LIBRARY.define(f"native_layer_backward(Tensor grad, Tensor x, Tensor maps, Tensor[] parameters, {_LAYER}) -> Tensor[]")


def native_layer(x: Tensor, parameters: list[Tensor], layer: Layer, save: bool) -> tuple[Tensor, Tensor]:
    """Return the output of a layer and the maps of its forward pass, as the operator ``lamnet::native_layer``.

    The output is channels last if the input is, else contiguous.

    Args:
        x: Features, (B, C, H, W), float32 on a CPU.
        parameters: Parameters in the order of the kernel, without the absent ones.
        layer: The layer.
        save: Whether the maps hold what the backward pass needs, or are working memory only.
    """
    return torch.ops.lamnet.native_layer.default(x, parameters, *layer, save)


@torch.library.impl(_LIBRARY, "native_layer", "CPU")
def _forward(x: Tensor, parameters: list[Tensor], *layer) -> tuple[Tensor, Tensor]:
    *layer, save = layer
    layer = Layer(*layer)
    config = layer.config()
    out, maps = _empty_outputs(x, layer, save)
    if x.numel():
        slots = [None if slot is None else slot.contiguous() for slot in layer.slots(parameters)]
        result = _destination(out)
        library.forward(layer.kernel, config, _with_adjacent_channels(x), result, slots, maps, save)
        if result is not out:
            out.copy_(result)
    return out, maps


@torch.library.register_fake("lamnet::native_layer", lib=_LIBRARY)
def _(x: Tensor, parameters: list[Tensor], *layer) -> tuple[Tensor, Tensor]:
    *layer, save = layer
    return _empty_outputs(x, Layer(*layer), save)


@torch.library.impl(_LIBRARY, "native_layer_backward", "CPU")
def _gradients(grad: Tensor, x: Tensor, maps: Tensor, parameters: list[Tensor], *layer) -> list[Tensor]:
    layer = Layer(*layer)
    kernel, config = layer.kernel, layer.config()
    grads = _empty_gradients(x, parameters)
    if not x.numel():
        return [grads[0], *(gradient.zero_() for gradient in grads[1:])]
    x, grad, grad_x = _with_adjacent_channels(x), _with_adjacent_channels(grad), grads[0]
    result = _destination(grad_x)
    slots = [None if slot is None else slot.contiguous() for slot in layer.slots(parameters)]
    working_maps = x.new_empty(library.maps_shape(kernel, config, x.shape, library.BACKWARD))
    library.backward(kernel, config, x, grad, result, slots, maps, working_maps, layer.slots(grads[1:]))
    if result is not grad_x:
        grad_x.copy_(result)
    return grads


@torch.library.register_fake("lamnet::native_layer_backward", lib=_LIBRARY)
def _(grad: Tensor, x: Tensor, maps: Tensor, parameters: list[Tensor], *layer) -> list[Tensor]:
    return _empty_gradients(x, parameters)


class _Autograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx, layer: Layer, x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            out, maps = native_layer(x, parameters, layer, True)
        ctx.layer = layer
        ctx.save_for_backward(x, maps, *parameters)
        ctx.mark_non_differentiable(maps)
        ctx.set_materialize_grads(False)  # the gradient of the maps would be zeros as large as themselves
        return out, maps

    @staticmethod
    def backward(ctx, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
        x, maps, *parameters = ctx.saved_tensors
        if grad is None:
            return None, None, *(None for _ in parameters)
        if torch.is_grad_enabled():  # create_graph=True: the kernels have no second derivative
            inputs = [x, *parameters]
            needed = [tensor for tensor in inputs if tensor.requires_grad]
            computed = iter(torch.autograd.grad(ctx.layer.reference(x, parameters), needed, grad, create_graph=True))
            return None, *(next(computed) if tensor.requires_grad else None for tensor in inputs)
        return None, *torch.ops.lamnet.native_layer_backward.default(grad, x, maps, parameters, *ctx.layer)


@torch.library.impl(_LIBRARY, "native_layer", "Autograd")
def _autograd(x: Tensor, parameters: list[Tensor], *layer) -> tuple[Tensor, Tensor]:
    *layer, save = layer
    layer = Layer(*layer)
    if save:
        return _Autograd.apply(layer, x, *parameters)
    with torch._C._AutoDispatchBelowAutograd():
        return native_layer(x, parameters, layer, False)


@register_flop_formula(torch.ops.lamnet.native_layer)
def _(x_shape, parameter_shapes, *layer, out_shape=None, **_) -> int:
    return 2 * x_shape[0] * x_shape[2] * x_shape[3] * Layer(*layer[:-1]).multiplications()


@register_flop_formula(torch.ops.lamnet.native_layer_backward)
def _(grad_shape, x_shape, maps_shape, parameter_shapes, *layer, out_shape=None, **_) -> int:
    return 4 * x_shape[0] * x_shape[2] * x_shape[3] * Layer(*layer).multiplications()


def _empty_outputs(x: Tensor, layer: Layer, save: bool) -> tuple[Tensor, Tensor]:
    kind = library.FORWARD if save else library.INFERENCE
    return _empty_like(x), x.new_empty(library.maps_shape(layer.kernel, layer.config(), x.shape, kind))


def _empty_gradients(x: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    contiguous = torch.contiguous_format
    return [_empty_like(x), *(torch.empty_like(parameter, memory_format=contiguous) for parameter in parameters)]


def _empty_like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last if is_channels_last(x) else torch.contiguous_format)


def _with_adjacent_channels(x: Tensor) -> Tensor:
    return x if x.stride(1) == 1 else x.contiguous(memory_format=torch.channels_last)


def _destination(out: Tensor) -> Tensor:
    """Return the tensor that a kernel writes: out, or a channels-last one to be copied to it."""
    return out if out.stride(1) == 1 else torch.empty_like(out, memory_format=torch.channels_last)
