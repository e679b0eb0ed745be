"""Focal aggregation in plain PyTorch: the reference, traceable and on any device, and its gradients written out."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..window import FocalWindow


def focal_aggregate(x: Tensor, weights: Tensor, window: FocalWindow, heads: int, dim: int) -> Tensor:
    """Weighted sum of the cell means around each pixel; arguments are those of the public function, validated."""
    dtype = torch.promote_types(x.dtype, weights.dtype)
    aggregate = _Aggregate.apply if _gathers_gradients(x, weights) else _aggregate
    x, weights = _to_rows(x).unflatten(1, (heads, -1)), weights.contiguous().unflatten(1, (heads, window.taps))
    return aggregate(x, weights, window, dim + 1).flatten(1, 2).to(dtype)


def _aggregate(x: Tensor, weights: Tensor, window: FocalWindow, dim: int) -> Tensor:
    """Aggregated features in the dtype of the sums, from x (B, heads, d, H, W) and weights (B, heads, K, H, W)."""
    # Half precision would lose digits in the sums, and overflow.
    dtype = torch.promote_types(torch.promote_types(x.dtype, weights.dtype), torch.float32)
    sums = _box_sums(x.to(dtype), window, dim)

    out: Tensor | None = None
    for tap, (length, values) in enumerate(_cells(sums, window, x.shape[dim], dim)):
        weight = weights[:, :, tap, None].to(dtype)
        out = weight / length * values if out is None else out.addcmul_(weight, values, value=1 / length)
    return out


class _Aggregate(torch.autograd.Function):
    """``_aggregate`` that keeps only its inputs for the backward pass, where autograd keeps the box sums too."""

    @staticmethod
    def forward(ctx, x: Tensor, weights: Tensor, window: FocalWindow, dim: int) -> Tensor:
        ctx.save_for_backward(x, weights)
        ctx.window, ctx.dim = window, dim
        return _aggregate(x, weights, window, dim)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and weights; both are gathers, and differentiable.

        ``grad_x[q] = Σ_k Σ_p weights[k, p] · grad[p] / length of cell k``, over the pixels p whose cell k contains q

        ``grad_weights[k, p] = Σ_j grad[j, p] · mean of x[j, q] over the pixels q of cell k around p``
        """
        (x, weights), window, dim = ctx.saved_tensors, ctx.window, ctx.dim
        size, grad = x.shape[dim], grad.contiguous()
        sums = _box_sums(x.to(grad.dtype), window, dim)
        grad_x = grad_weights = None
        if ctx.needs_input_grad[1]:
            products = [(grad * values).sum(2).div_(length) for length, values in _cells(sums, window, size, dim)]
            grad_weights = torch.stack(products, 2).to(weights.dtype)
        if ctx.needs_input_grad[0]:
            # Gradients of the box sums. The sum of l pixels then adds its own to those of its two halves.
            sums = {length: grad.new_zeros(values.shape) for length, values in sums.items()}
            for tap, (length, values) in enumerate(_cells(sums, window, size, dim)):
                values.addcmul_(weights[:, :, tap, None].to(grad.dtype), grad, value=1 / length)
            for length in sorted(sums, reverse=True)[:-1]:
                values, half = sums.pop(length), length // 2
                for part, start in ((half, 0), (length - half, half)):
                    sums[part].narrow(dim, start, values.shape[dim]).add_(values)
            grad_x = sums[1].narrow(dim, window.radius, size).to(x.dtype)
        return grad_x, grad_weights, None, None


def _gathers_gradients(x: Tensor, weights: Tensor) -> bool:
    """Whether autograd alone records the call: no compiler, tracer, transform or forward-mode derivative."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._are_functorch_transforms_active():
        return False
    if not torch.is_grad_enabled() or not (x.requires_grad or weights.requires_grad):
        return False
    return all(forward_ad.unpack_dual(tensor).tangent is None for tensor in (x, weights))


def _to_rows(x: Tensor) -> Tensor:
    # A head's channels share weights, so with channels last in memory each product would run over few neighbors:
    # several times slower than a copy to planes, which is quickest by way of rows.
    return x.transpose(1, 2).contiguous().transpose(1, 2) if x.stride(1) == 1 else x


def _box_sums(x: Tensor, window: FocalWindow, dim: int) -> dict[int, Tensor]:
    """Sums of x[q … q + l − 1] along ``dim``, zero-padded by the radius, for all cell lengths l and their halves."""
    edge = x.new_zeros([window.radius if axis == dim else length for axis, length in enumerate(x.shape)])
    padded = torch.cat((edge, x, edge), dim)  # compiled, F.pad would become a test at each read of each tap
    needed = {length for _, length in window.cells}
    for length in range(max(needed), 1, -1):
        if length in needed:
            needed |= {length // 2, length - length // 2}
    # No inner function that calls itself: such a cycle would keep the sums alive until the next garbage collection.
    sums = {1: padded}
    for length in sorted(needed - {1}):
        half = length // 2
        size = padded.shape[dim] - length + 1
        sums[length] = sums[half].narrow(dim, 0, size) + sums[length - half].narrow(dim, half, size)
    return sums


def _cells(sums: dict[int, Tensor], window: FocalWindow, size: int, dim: int) -> Iterator[tuple[int, Tensor]]:
    """For each tap, the length of its cell and the sums of the cells around all pixels."""
    # One at a time: autograd takes no view from before its base changed, and the backward pass changes the sums.
    for first, length in window.spans:
        yield length, sums[length].narrow(dim, window.radius + first, size)
