"""Aggregation kernels as custom operators with autograd, fake, vmap and FLOP formulas.

The eager backend is plain PyTorch instead of an operator, so that compilers can fuse it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ..window import FocalWindow


@torch.library.custom_op("lamnet::focal_aggregate", mutates_args=())
def focal_aggregate(
    x: Tensor, weights: Tensor, strides: list[int], steps: list[int], num_heads: int, dim: int
) -> Tensor:
    """Return the aggregated features; takes the validated public arguments."""
    from .triton import aggregate

    return aggregate.forward(x, weights, FocalWindow(strides, steps), num_heads, dim)


@focal_aggregate.register_fake
def _(x: Tensor, weights: Tensor, strides: list[int], steps: list[int], num_heads: int, dim: int) -> Tensor:
    return torch.empty_like(x, dtype=torch.promote_types(x.dtype, weights.dtype))


@torch.library.custom_op("lamnet::focal_aggregate_backward", mutates_args=())
def focal_aggregate_backward(
    grad: Tensor,
    x: Tensor,
    weights: Tensor,
    strides: list[int],
    steps: list[int],
    num_heads: int,
    dim: int,
    needs_grad: list[bool],
) -> tuple[Tensor, Tensor]:
    """Return the gradients of features and weights; those not needed are empty."""
    from .triton import aggregate

    window = FocalWindow(strides, steps)
    return (
        aggregate.grad_x(grad, weights, x, window, num_heads, dim) if needs_grad[0] else x.new_empty(0),
        aggregate.grad_weights(grad, x, weights, window, num_heads, dim) if needs_grad[1] else weights.new_empty(0),
    )


@focal_aggregate_backward.register_fake
def _(grad, x, weights, strides, steps, num_heads, dim, needs_grad) -> tuple[Tensor, Tensor]:
    return (
        torch.empty_like(x) if needs_grad[0] else x.new_empty(0),
        torch.empty_like(weights) if needs_grad[1] else weights.new_empty(0),
    )


def _save(ctx, inputs, output) -> None:
    x, weights, *ctx.rest = inputs
    ctx.save_for_backward(x, weights)


def _backward(ctx, grad: Tensor):
    x, weights = ctx.saved_tensors
    needs_grad = list(ctx.needs_input_grad[:2])
    grads = focal_aggregate_backward(grad, x, weights, *ctx.rest, needs_grad)
    return (*(value if needed else None for value, needed in zip(grads, needs_grad, strict=True)), *[None] * 4)


def _raise_no_second_derivative(ctx, *_: Tensor):
    raise RuntimeError("the Triton kernels have no second derivative; use backend='eager'")


focal_aggregate.register_autograd(_backward, setup_context=_save)
focal_aggregate_backward.register_autograd(_raise_no_second_derivative)


@focal_aggregate.register_vmap
def _(info, in_dims, x, weights, *rest):
    return _unfold(focal_aggregate(*_fold(info, in_dims, (x, weights)), *rest), info), 0


@focal_aggregate_backward.register_vmap
def _(info, in_dims, grad, x, weights, *rest):
    grads = focal_aggregate_backward(*_fold(info, in_dims, (grad, x, weights)), *rest)
    needs_grad = rest[-1]
    return tuple(
        _unfold(value, info) if needed else value.expand(info.batch_size, 0)
        for value, needed in zip(grads, needs_grad, strict=True)
    ), (0, 0)


def _fold(info, in_dims, tensors: tuple[Tensor, ...]) -> list[Tensor]:
    # Merges the vmapped dimension into the batch.
    moved = (
        tensor.expand(info.batch_size, *tensor.shape) if in_dim is None else tensor.movedim(in_dim, 0)
        for tensor, in_dim in zip(tensors, in_dims, strict=False)
    )
    return [tensor.flatten(0, 1) for tensor in moved]


def _unfold(tensor: Tensor, info) -> Tensor:
    return tensor.unflatten(0, (info.batch_size, -1))


@register_flop_formula(torch.ops.lamnet.focal_aggregate)
def _(x_shape, weights_shape, strides, steps, num_heads, dim, *_, **__) -> int:
    batch, channels, height, width = x_shape
    return 2 * batch * channels * height * width * FocalWindow(strides, steps).taps


@register_flop_formula(torch.ops.lamnet.focal_aggregate_backward)
def _(grad_shape, x_shape, weights_shape, strides, steps, num_heads, dim, needs_grad, *_, **__) -> int:
    batch, channels, height, width = x_shape
    return 2 * batch * channels * height * width * FocalWindow(strides, steps).taps * sum(needs_grad)
