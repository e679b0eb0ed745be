"""``torch.export``: a program in PyTorch's own operators, which PyTorch alone loads and runs, on any device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from ..lamnet import LAMNet


def trace(model: LAMNet, half: bool) -> ExportedProgram:
    """Returns a network, whose type it may change, as a program for any batch, height and width."""
    weight = model.to(torch.float16 if half else torch.float32).conv_first.weight
    image = torch.rand(2, model.in_chans, 24, 32).to(weight)
    any_size = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    program = torch.export.export(model, (image,), dynamic_shapes=(any_size,), strict=False)
    graph = program.graph_module.graph
    for node in list(graph.nodes):  # checks of what the types and devices were here; the program itself fits any device
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            graph.erase_node(node)
    program.graph_module.recompile()
    return program


def write(model: LAMNet, path: Path, metadata: dict[str, str], half: bool) -> None:
    """Writes the archive; the metadata are its extra files."""
    torch.export.save(trace(model, half), path, extra_files=metadata)


def load(path: Path) -> Callable[[Tensor], Tensor]:
    """Returns what an archive computes."""
    return torch.export.load(path).module()
