"""Focal aggregation: naive reference and eager implementation in plain PyTorch.

Both take the validated arguments of the public function, with the dimension as 2 (height) or 3 (width).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from ..window import FocalWindow


def naive(x: Tensor, weights: Tensor, window: FocalWindow, num_heads: int, dim: int) -> Tensor:
    """Weighted sum of the cell means around each pixel, by definition: the reference of all implementations."""
    size, radius = x.shape[dim], window.radius
    padded = F.pad(x, (radius, radius, 0, 0) if dim == 3 else (0, 0, radius, radius))
    weights = weights.unflatten(1, (num_heads, window.taps)).repeat_interleave(x.shape[1] // num_heads, dim=1)
    out = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, weights.dtype))
    for tap, (first, length) in enumerate(window.spans):
        cell = [padded.narrow(dim, radius + first + step, size) for step in range(length)]
        out = out + weights[:, :, tap] * torch.stack(cell).mean(0)
    return out


def eager(x: Tensor, weights: Tensor, window: FocalWindow, num_heads: int, dim: int) -> Tensor:
    """Weighted sum of the cell means around each pixel, from box sums."""
    dtype = torch.promote_types(x.dtype, weights.dtype)
    aggregate = _Aggregate.apply if _supports_custom_backward(x, weights) else _aggregate
    x, weights = _to_rows(x).unflatten(1, (num_heads, -1)), weights.contiguous().unflatten(1, (num_heads, window.taps))
    return aggregate(x, weights, window, dim + 1).flatten(1, 2).to(dtype)


def _aggregate(x: Tensor, weights: Tensor, window: FocalWindow, dim: int) -> Tensor:
    """Aggregate x (B, num_heads, d, H, W) by weights (B, num_heads, K, H, W) in the accumulation dtype."""
    # Sums in half precision would lose digits and overflow.
    dtype = torch.promote_types(torch.promote_types(x.dtype, weights.dtype), torch.float32)
    sums = _box_sums(x.to(dtype), window, dim)

    out: Tensor | None = None
    for tap, (length, values) in enumerate(_cells(sums, window, x.shape[dim], dim)):
        weight = weights[:, :, tap, None].to(dtype)
        out = weight / length * values if out is None else out.addcmul_(weight, values, value=1 / length)
    return out


class _Aggregate(torch.autograd.Function):
    """``_aggregate`` with a backward pass that saves the inputs only, not the box sums."""

    @staticmethod
    def forward(ctx, x: Tensor, weights: Tensor, window: FocalWindow, dim: int) -> Tensor:
        ctx.save_for_backward(x, weights)
        ctx.window, ctx.dim = window, dim
        return _aggregate(x, weights, window, dim)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and weights; both are gathers and differentiable.

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
            # Gradients of the box sums. S_l = S_⌊l/2⌋ + S_⌈l/2⌉, so that of S_l is then added to those of its halves.
            sums = {length: grad.new_zeros(values.shape) for length, values in sums.items()}
            for tap, (length, values) in enumerate(_cells(sums, window, size, dim)):
                values.addcmul_(weights[:, :, tap, None].to(grad.dtype), grad, value=1 / length)
            for length in sorted(sums, reverse=True)[:-1]:
                values, half = sums.pop(length), length // 2
                for part_length, start in ((half, 0), (length - half, half)):
                    sums[part_length].narrow(dim, start, values.shape[dim]).add_(values)
            grad_x = sums[1].narrow(dim, window.radius, size).to(x.dtype)
        return grad_x, grad_weights, None, None


def _supports_custom_backward(x: Tensor, weights: Tensor) -> bool:
    """Whether autograd records the call, without compiler, tracer, transform or forward-mode AD."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._are_functorch_transforms_active():
        return False
    if not torch.is_grad_enabled() or not (x.requires_grad or weights.requires_grad):
        return False
    return all(forward_ad.unpack_dual(tensor).tangent is None for tensor in (x, weights))


def _to_rows(x: Tensor) -> Tensor:
    # The channels of a head share weights, so products on channels-last maps have short inner loops: several times
    # slower than a copy to planes. The copy is fastest by rows.
    return x.transpose(1, 2).contiguous().transpose(1, 2) if x.stride(1) == 1 else x


def _box_sums(x: Tensor, window: FocalWindow, dim: int) -> dict[int, Tensor]:
    """Box sums of the zero-padded ``x`` along ``dim``, for all cell lengths and their halves.

    ``S_l[q] = x[q] + … + x[q + l − 1] = S_h[q] + S_(l−h)[q + h]`` with ``h = l // 2`` and ``S_1 = x``.
    """
    edge = x.new_zeros([window.radius if axis == dim else length for axis, length in enumerate(x.shape)])
    padded = torch.cat((edge, x, edge), dim)  # Inductor turns F.pad into a bounds check at each read of each tap
    needed = {length for _, length in window.cells}
    for length in range(max(needed), 1, -1):
        if length in needed:
            needed |= {length // 2, length - length // 2}
    # A loop, since a recursive closure is a reference cycle that keeps the sums alive until garbage collection.
    sums = {1: padded}
    for length in sorted(needed - {1}):
        half = length // 2
        size = padded.shape[dim] - length + 1
        sums[length] = sums[half].narrow(dim, 0, size) + sums[length - half].narrow(dim, half, size)
    return sums


def _cells(sums: dict[int, Tensor], window: FocalWindow, size: int, dim: int) -> Iterator[tuple[int, Tensor]]:
    """Yield for each tap the length of its cell and the cell sums around all pixels."""
    # A generator, since the backward pass changes the sums in place and autograd rejects views created before that.
    for first, length in window.spans:
        yield length, sums[length].narrow(dim, window.radius + first, size)
