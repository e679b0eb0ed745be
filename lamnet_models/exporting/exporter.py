"""Network export with verification against PyTorch, and conversion to ONNX Runtime."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from lamnet_layers import use_backend

from ..devices import check_compiler, resolve_device, without_onednn
from ..errors import ExportError
from ..factory import resolve_model
from ..filesystem import atomic_path
from ..integrations.onnxruntime import METADATA, OnnxNetwork, load_onnx, open_onnx
from ..lamnet import LAMNet

FORMATS = {"onnx": ".onnx", "torch": ".pt2", "aoti": ".pt2"}
"""Formats and their extensions: ONNX, ``torch.export``'s archive, AOTInductor's package."""

OPSETS = (17, 18, 19, 20)
"""ONNX opset versions, from the first with LayerNormalization to the first with Gelu, the default."""

SIZES = ((1, 48, 64), (2, 29, 37), (1, 1, 3))
"""Batch, height and width of the verification inputs."""

TOLERANCES = {False: 1e-4, True: 1e-2}
"""Maximum difference relative to the largest value, by ``half``."""


@dataclass(frozen=True)
class Export:
    """Result of an export.

    Attributes:
        path: Output file.
        format: One of [`FORMATS`][lamnet_models.exporting.FORMATS].
        half: Whether the program computes in float16.
        differences: Maximum difference from the float32 network in PyTorch, relative to the largest value, for each of
            [`SIZES`][lamnet_models.exporting.SIZES].
    """

    path: Path
    format: str
    half: bool
    differences: dict[tuple[int, int, int], float]

    @property
    def difference(self) -> float:
        """Maximum over ``differences``."""
        return max(self.differences.values())


def export(
    model: nn.Module | str | os.PathLike,
    path: str | os.PathLike,
    *,
    format: str | None = None,
    half: bool = False,
    device: torch.device | str = "cpu",
    opset: int | None = None,
    on_status: Callable[[str], None] | None = None,
) -> Export:
    """Export a network with dynamic batch and image size, (B, C, H, W) → (B, C, r·H, r·W).

    The exported program is loaded and compared with the network. If they differ, the file is not kept.

    Args:
        model: LAMNet, checkpoint file, or name of a pretrained model.
        path: Output file; its folder is created if missing.
        format: ``"onnx"``; ``"torch"``, an archive for ``torch.export.load``; or ``"aoti"``, a compiled package for
            ``torch._inductor.aoti_load_package``, which needs a C++ compiler. None selects ``"onnx"`` for ``.onnx`` and
            ``"torch"`` for ``.pt2``.
        half: Whether weights and images are float16.
        device: Device that ``"aoti"`` compiles for. The other formats run on any device.
        opset: Opset version of ``"onnx"``, 17 to 20; None for 20. Below 20, GELU is several operators.
        on_status: Called with a status message before each stage.

    Returns:
        The exported file and its differences from the network.

    Raises:
        ValueError: If the format or opset is unknown, the extension does not match, or the device is not available.
        ExportError: If the network is not a LAMNet, packages of the format are missing, or the program differs.
        LAMNetError: If the model is unknown, or a required C++ compiler is missing.
    """
    path = Path(path)
    format = _format_of(path, format)
    if format != "aoti" and str(device) not in ("auto", "cpu"):
        raise ValueError(f"device must be 'cpu' for {format}, which runs on any device, got {str(device)!r}")
    target_device = resolve_device(device if format == "aoti" else "cpu")
    if opset is not None and (format != "onnx" or opset not in OPSETS):
        raise ValueError(f"opset must be {OPSETS[0]} to {OPSETS[-1]}, for format onnx only, got {opset} for {format}")
    on_status = on_status or (lambda _: None)
    network = _detached_eval_copy(resolve_model(model))
    write, load = _PROGRAMS[format]
    if opset is not None:
        write = partial(write, opset=opset)
    with atomic_path(path) as temporary, torch.no_grad(), use_backend("eager"), without_onednn(half):
        on_status(f"writing {format}")
        write(_detached_eval_copy(network).to(target_device), temporary, _build_metadata(network, half), half)
        run = load(temporary)
        differences = {}
        for size in SIZES:
            on_status("comparing at " + "×".join(map(str, size)))
            differences[size] = _difference(network, run, size, half, target_device)
        worst = max(differences.values())
        if not worst <= TOLERANCES[half]:
            raise ExportError(
                f"{path}: not kept: {format} differs from PyTorch by {worst:.1e} of the largest value (tolerance "
                f"{TOLERANCES[half]:.0e})"
            )
    return Export(path, format, half, differences)


def to_onnxruntime(
    model: nn.Module | str | os.PathLike, *, half: bool = False, threads: int | None = None
) -> OnnxNetwork:
    """Return a network that runs in ONNX Runtime, without an intermediate file.

    Args:
        model: LAMNet, checkpoint file, name of a pretrained model, or exported file.
        half: Whether weights and images are float16; ignored for an exported file.
        threads: Number of threads; None for that of PyTorch.

    Raises:
        ExportError: If the network is not a LAMNet, or the package onnx is missing.
        LAMNetError: If the model is unknown, or ONNX Runtime is missing.
    """
    network = resolve_model(model)
    if isinstance(network, OnnxNetwork):
        return network
    network = _detached_eval_copy(network)
    return open_onnx(_serialize_onnx(network, _build_metadata(network, half), half), threads)


def _format_of(path: Path, format: str | None) -> str:
    if format is None:
        format = next((name for name, suffix in FORMATS.items() if suffix == path.suffix), None)
        if format is None:
            raise ValueError(f"path must end in .onnx or .pt2 if format is not set, got {str(path)!r}")
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if path.suffix != FORMATS[format]:
        raise ValueError(f"path must end in {FORMATS[format]} for {format}, got {str(path)!r}")
    return format


def _difference(
    network: LAMNet, run: Callable[[Tensor], Tensor], size: tuple[int, int, int], half: bool, device: torch.device
) -> float:
    batch, height, width = size
    image = torch.rand(batch, network.in_chans, height, width, generator=torch.Generator().manual_seed(0))
    image = image.to(torch.float16 if half else torch.float32)
    expected = network(image.float())
    result = run(image.to(device)).cpu().float()
    if result.shape != expected.shape:
        return float("inf")
    return ((result - expected).abs().max() / expected.abs().max()).nan_to_num(float("inf")).item()


def _detached_eval_copy(model: nn.Module) -> LAMNet:
    """Return an uncompiled float32 copy on the CPU, in evaluation mode, with the default backend.

    Raises:
        ExportError: If the network is not a LAMNet.
    """
    if not isinstance(model, LAMNet):
        raise ExportError(f"model must be a LAMNet, got {type(model).__name__}")
    copy = LAMNet(**model.config)
    copy.load_state_dict(model.state_dict())
    return copy.eval()


def _build_metadata(model: LAMNet, half: bool) -> dict[str, str]:
    """Return the metadata of a program by key."""
    description = {"version": version("lamnet"), "half": half, "config": model.config}
    mean = [round(value, 4) for value in model.mean.flatten().tolist()]
    return {
        METADATA: json.dumps(description),
        "scale": str(model.scale),
        "in_chans": str(model.in_chans),
        "mean": json.dumps(mean),  # informative: the program subtracts it
    }


def _serialize_onnx(model: LAMNet, metadata: dict[str, str], half: bool, opset: int = OPSETS[-1]) -> bytes:
    """Return the contents of the ONNX file of a network.

    Raises:
        ExportError: If the package onnx is missing, or the attention is not supported.
    """
    if model.config["attn_layer"] != "fsa":
        raise ExportError("ONNX export supports attn_layer='fsa' only: use format torch or aoti")
    try:
        from .onnx import network_to_onnx
    except ImportError:
        raise ExportError("ONNX export needs the package onnx: pip install 'lamnet[onnx]'") from None
    with torch.no_grad():
        return network_to_onnx(model, metadata, half, opset).SerializeToString()


def _write_onnx(model: LAMNet, path: Path, metadata: dict[str, str], half: bool, opset: int = OPSETS[-1]) -> None:
    """Write the ONNX graph and its weights to one file."""
    path.write_bytes(_serialize_onnx(model, metadata, half, opset))


def _trace(model: LAMNet, half: bool) -> torch.export.ExportedProgram:
    """Trace a network with dynamic batch, height and width; changes its dtype if ``half``."""
    weight = model.to(torch.float16 if half else torch.float32).conv_first.weight
    image = torch.rand(2, model.in_chans, 24, 32).to(weight)
    dynamic_shape = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.export.export(model, (image,), dynamic_shapes=(dynamic_shape,), strict=False)
    graph = program.graph_module.graph
    for node in list(graph.nodes):  # checks of dtype and device, which would bind it to this device
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            graph.erase_node(node)
    program.graph_module.recompile()
    return program


def _write_torch(model: LAMNet, path: Path, metadata: dict[str, str], half: bool) -> None:
    """Write the ``torch.export`` archive, with the metadata as extra files."""
    torch.export.save(_trace(model, half), path, extra_files=metadata)


def _load_torch(path: Path) -> Callable[[Tensor], Tensor]:
    """Load an archive as a callable."""
    return torch.export.load(path).module()


def _write_aoti(model: LAMNet, path: Path, metadata: dict[str, str], half: bool) -> None:
    """Compile a network and write the package.

    Raises:
        LAMNetError: If no working C++ compiler is installed.
    """
    import torch._inductor

    check_compiler(header="cmath")
    # As in `compile_blocks`: the layers choose their memory layouts.
    options = {"aot_inductor.metadata": metadata, "layout_optimization": False}
    torch._inductor.aoti_compile_and_package(_trace(model, half), package_path=str(path), inductor_configs=options)


def _load_aoti(path: Path) -> Callable[[Tensor], Tensor]:
    """Load a package as a callable."""
    import torch._inductor

    return torch._inductor.aoti_load_package(str(path))


_PROGRAMS: dict[str, tuple[Callable[..., None], Callable[[Path], Callable[[Tensor], Tensor]]]] = {
    "onnx": (_write_onnx, load_onnx),
    "torch": (_write_torch, _load_torch),
    "aoti": (_write_aoti, _load_aoti),
}
"""Writer and loader of each format."""
