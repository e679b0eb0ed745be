"""Network complexity: parameters, multiply-accumulates, operations, FLOPs, receptive field."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lamnet_layers import set_backend

from .lamnet import LAMNet

PAPER_OUTPUT = (720, 1280)
"""Output height and width at which papers count."""


@dataclass(frozen=True)
class Complexity:
    """Cost of one forward pass at batch size 1.

    Attributes:
        params: Number of parameters.
        macs: Multiply-accumulates of convolutions and matrix products only, the paper's convention.
        operations: ``macs`` plus one operation per element of all other arithmetic (aggregation, norms, gates,
            activations, additions). Data movement is not counted.
        receptive_field: Side in input pixels of the receptive field, without IEM's gates, which depend on the whole
            image; None for networks other than LAMNet.
        input_size: Input height and width in pixels at which it was counted.
    """

    params: int
    macs: int
    operations: int
    receptive_field: int | None
    input_size: tuple[int, int]


def complexity(model: nn.Module, input_size: tuple[int, int] | None = None) -> Complexity:
    """Count the cost of one forward pass, on the meta device.

    Args:
        model: Network on (B, C, H, W) with attributes ``in_chans`` and ``scale``, on any device. A copy on the meta
            device is used.
        input_size: Input height and width; None for that of a 1280×720 output, rounded down, as in the paper.
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
    """Return ``macs`` and ``operations`` of a module.

    Defined in [`Complexity`][lamnet_models.cost.Complexity].

    Args:
        module: Module with one input tensor. A copy on the meta device is used, so no maps are allocated.
        shape: Shape of the input.
    """
    meta = copy.deepcopy(module).to("meta", torch.float32).eval()
    set_backend(meta, "eager")  # operations inside kernels would not be counted
    _, counter = _count(meta, torch.empty(shape, device="meta"))
    return counter.macs, counter.macs + counter.elements


def count_flops(module: nn.Module, x: Tensor) -> tuple[Tensor, int]:
    """Return the output of a module and the FLOPs of its operators that have a FLOP formula.

    These are convolutions, matrix products, and the kernels of lamnet_layers. They are counted in the call itself,
    without gradients. ``FlopCounterMode`` would not see the CPU kernels: it hooks modules, and hooks disable fusion.

    Args:
        module: Module with one input tensor.
        x: The input.
    """
    output, counter = _count(module, x)
    return output, 2 * counter.macs


def _count(module: nn.Module, x: Tensor) -> tuple[Tensor, _Counter]:
    with torch.no_grad(), _Counter() as counter:
        return module(x), counter


def receptive_field(model: LAMNet) -> int:
    """Return the side in input pixels of the receptive field, without IEM's gates.

    The gates depend on means over the whole image.
    """
    layers = sum(max(layer.layer.receptive_radius) for block in model.blocks for layer in block.layers)
    convolutions = 3  # first, after the blocks, before the pixel shuffle
    return 2 * (layers + convolutions) + 1


class _Counter(TorchDispatchMode):
    """Counter of multiply-accumulates, and of elements processed by other arithmetic.

    An operator counts the elements of the largest tensor that it reads or writes.
    """

    REDUCTIONS = frozenset(("mean", "sum", "native_layer_norm", "var_mean", "softmax", "_softmax", "native_batch_norm"))

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        is_pointwise = torch.Tag.pointwise in func.tags
        # In place, the result is the first argument; the operator would only check shapes, slowly.
        result = args[0] if is_pointwise and name.endswith("_") else func(*args, **kwargs)
        if flops := flop_registry.get(func.overloadpacket):
            self.macs += flops(*args, **kwargs, out_val=result) // 2  # torch counts multiply and add separately
        is_arithmetic = is_pointwise and name not in ("clone", "copy_", "_to_copy", "fill_")
        if is_arithmetic or name in self.REDUCTIONS:
            tensors = [item for item in (*args, result) if isinstance(item, torch.Tensor)]
            self.elements += max((tensor.numel() for tensor in tensors), default=0)
        return result
