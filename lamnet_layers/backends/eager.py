"""The reference: focal aggregation in plain PyTorch, traceable, differentiable, on any device."""

import torch
from torch import Tensor

from ..window import FocalWindow


def focal_aggregate(x: Tensor, weights: Tensor, window: FocalWindow, heads: int, dim: int) -> Tensor:
    """Returns the weighted sum of cell means around each pixel; arguments are those of the public function, checked."""
    size, radius = x.shape[dim], window.radius
    dtype = torch.promote_types(x.dtype, weights.dtype)
    exact = torch.promote_types(dtype, torch.float32)  # half precision would lose digits in the sums, and overflow
    # A head's channels share weights, so with channels last in memory each product would run over few neighbours:
    # several times slower than a copy to planes, which is quickest by way of rows.
    rows = x.to(exact).transpose(1, 2).contiguous().transpose(1, 2) if x.stride(1) == 1 else x.to(exact)
    edge = rows.new_zeros([radius if axis == dim else length for axis, length in enumerate(x.shape)])
    padded = torch.cat((edge, rows, edge), dim)  # compiled, F.pad would become a test at each read of each tap
    sums = _box_sums(padded, {length for _, length in window.cells}, dim)
    weights = weights.contiguous().unflatten(1, (heads, window.taps))

    out: Tensor | None = None
    for tap, (first, length) in enumerate(window.spans):
        values = sums[length].narrow(dim, radius + first, size).unflatten(1, (heads, -1))
        weight = weights[:, :, tap, None].to(exact)
        out = weight / length * values if out is None else out.addcmul_(weight, values, value=1 / length)
    return out.flatten(1, 2).to(dtype)


def _box_sums(x: Tensor, lengths: set[int], dim: int) -> dict[int, Tensor]:
    """Returns for each length l the sums over x[q … q + l − 1] along ``dim``, from sums of half the length."""
    needed = set(lengths)
    for length in range(max(needed), 1, -1):
        if length in needed:
            needed |= {length // 2, length - length // 2}
    # No inner function that calls itself: such a cycle would keep the sums alive until the next garbage collection.
    sums = {1: x}
    for length in sorted(needed - {1}):
        half = length // 2
        size = x.shape[dim] - length + 1
        sums[length] = sums[half].narrow(dim, 0, size) + sums[length - half].narrow(dim, half, size)
    return sums
