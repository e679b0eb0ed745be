"""What a network costs: parameters, multiply-accumulates, receptive field."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lamnet_layers.backends.select import set_backend

from .lamnet import LAMNet

PAPER_OUTPUT = (720, 1280)
"""Height and width of the output at which papers count."""


@dataclass(frozen=True)
class Complexity:
    """Cost of one forward pass of a batch of one.

    Attributes:
        params: Number of parameters.
        macs: Multiply-accumulates under the paper's convention: convolutions and matrix products, nothing else.
        operations: The whole count: ``macs`` and one operation for each element that any other arithmetic works on
            (aggregation, norms, gates, activations, additions). Moving data is free.
        receptive_field: Height and width in input pixels of what an output pixel sees without IEM's gates, which reach
            the whole image; None for other networks than LAMNet.
        input_size: Height and width in pixels of the input it was counted at.
    """

    params: int
    macs: int
    operations: int
    receptive_field: int | None
    input_size: tuple[int, int]


def complexity(model: nn.Module, input_size: tuple[int, int] | None = None) -> Complexity:
    """Counts what one forward pass costs, without running it.

    Args:
        model: A network on (B, C, H, W) with attributes ``in_chans`` and ``scale``; it may be on the meta device, where
            nothing is allocated. Otherwise a copy of it is made there.
        input_size: Height and width of the input; by default that whose output is 1280×720, rounded down: the paper's.

    Returns:
        The cost.
    """
    if input_size is None:
        input_size = (PAPER_OUTPUT[0] // model.scale, PAPER_OUTPUT[1] // model.scale)
    macs, operations = count_operations(model, (1, model.in_chans, *input_size))
    return Complexity(
        params=sum(parameter.numel() for parameter in model.parameters()),
        macs=macs,
        operations=operations,
        receptive_field=receptive_field(model) if isinstance(model, LAMNet) else None,
        input_size=input_size,
    )


def count_operations(module: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns ``macs`` and ``operations``, as in [`Complexity`][lamnet_models.Complexity], of any module on one tensor.

    Args:
        module: The module. It does not run, and nothing of the tensor's size is allocated.
        shape: Shape of its input.
    """
    meta = copy.deepcopy(module).to("meta", torch.float32).eval()
    set_backend(meta, "eager")  # whatever is asked for: what a kernel takes in would not be counted
    with torch.no_grad(), _Counter() as counter:
        meta(torch.empty(shape, device="meta"))
    return counter.macs, counter.macs + counter.elements


def receptive_field(model: LAMNet) -> int:
    """Returns the height and width in input pixels of what an output pixel sees, leaving out IEM's gates.

    The gates carry means over the whole image; everything else is local.
    """
    feed_forward = 0 if model.config["feed_forward"] == "ffn" else 1
    mixers = model.config["num_blocks"] * model.config["depth"]
    convolutions = 3  # the first, the one after the blocks, the one before the pixel shuffle
    return 2 * (mixers * (model.window.radius + feed_forward) + convolutions) + 1


class _Counter(TorchDispatchMode):
    """Counts multiply-accumulates of convolutions and matrix products, and the elements that other arithmetic works on.

    Those are the elements of the largest tensor that an operator reads or writes.
    """

    REDUCTIONS = frozenset(("mean", "sum", "native_layer_norm", "var_mean", "softmax", "_softmax", "native_batch_norm"))

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if flops := flop_registry.get(func.overloadpacket):
            self.macs += flops(*args, **kwargs, out_val=result) // 2  # torch counts the product and the sum
        name = func.overloadpacket.__name__
        is_arithmetic = torch.Tag.pointwise in func.tags and name not in ("clone", "copy_", "_to_copy", "fill_")
        if is_arithmetic or name in self.REDUCTIONS:
            tensors = [item for item in (*args, result) if isinstance(item, torch.Tensor)]
            self.elements += max((tensor.numel() for tensor in tensors), default=0)
        return result
