"""``torch.export`` archives, loaded by PyTorch on any device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from ..lamnet import LAMNet


def trace(model: LAMNet, half: bool) -> ExportedProgram:
    """Trace a network with dynamic batch, height and width; changes its dtype if ``half``."""
    weight = model.to(torch.float16 if half else torch.float32).conv_first.weight
    image = torch.rand(2, model.in_chans, 24, 32).to(weight)
    dynamic_shape = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    program = torch.export.export(model, (image,), dynamic_shapes=(dynamic_shape,), strict=False)
    graph = program.graph_module.graph
    for node in list(graph.nodes):  # checks of dtype and device, which would bind it to this device
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            graph.erase_node(node)
    program.graph_module.recompile()
    return program


def write(model: LAMNet, path: Path, metadata: dict[str, str], half: bool) -> None:
    """Write the archive, with the metadata as extra files."""
    torch.export.save(trace(model, half), path, extra_files=metadata)


def load(path: Path) -> Callable[[Tensor], Tensor]:
    """Load an archive as a callable."""
    return torch.export.load(path).module()
