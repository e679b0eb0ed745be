"""``lamnet info``: configuration and cost of a model."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .options import Json, check_models, parse_size
from .output import print_json, print_table


def info(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model name or checkpoint file.")],
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="WIDTHxHEIGHT", help="Input size in pixels.", show_default="1280x720 / scale"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print configuration and cost of a model.

    The costs are parameters, MACs, receptive field and memory. For a checkpoint, its training metadata is also printed.

    Memory is the estimated peak of the process while it upscales an 8-bit RGB image of this size on a CPU in float32.

    For custom models, the differences from the most similar published model are printed.

    Example: lamnet info lamnet_x4 --size 1920x1080
    """
    input_size = parse_size("--size", size)[::-1] if size else None
    check_models(model)

    import torch

    from lamnet_models import LAMNet, complexity, create_model
    from lamnet_models.checkpoint import read_checkpoint
    from lamnet_models.errors import quantity
    from lamnet_models.factory import format_value, nearest_published
    from lamnet_models.inference.planner import estimate_process_memory
    from lamnet_models.names import is_checkpoint_path

    report: dict[str, Any] = {"model": model}
    if is_checkpoint_path(model):
        checkpoint = read_checkpoint(model)
        network = checkpoint.build()
        report |= {"format": checkpoint.format, "training": checkpoint.training}
    else:
        network = create_model(model, device=torch.device("meta"))
    assert isinstance(network, LAMNet)
    cost = complexity(network, input_size)
    height, width = cost.input_size
    memory = estimate_process_memory(network, height, width)
    report |= {
        "config": network.config,
        "params": cost.params,
        "macs": cost.macs,
        "operations": cost.operations,
        "receptive_field": cost.receptive_field,
        "input_size": [width, height],
        "memory": memory,
    }
    base, differing = nearest_published(network)
    base_cost = complexity(create_model(base, device=torch.device("meta")), input_size) if differing else cost
    report["base"] = {
        "model": base,
        "params": base_cost.params,
        "macs": base_cost.macs,
        "differences": {key: {"own": value, "base": base_value} for key, (value, base_value) in differing.items()},
    }
    if as_json:
        print_json(report)
        return
    output = f"{width * network.scale}×{height * network.scale}"
    rows = [
        ["parameters", f"{cost.params:,}"],
        ["input → output", f"{width}×{height} → {output}"],
        ["MACs (paper)", f"{cost.macs / 1e9:.2f}G: convolutions and matrix products, as counted in papers"],
        ["operations", f"{cost.operations / 1e9:.2f}G: including aggregation, norms, gates and activations"],
        ["receptive field", f"{quantity(cost.receptive_field, 'pixel')}, plus the image-wide means of IEM"],
    ]
    untiled, exact, in_memory, in_files = (f"{size / 1e9:.2f} GB" for size in memory.values())
    rows += [
        ["memory", f"{untiled} without tiling"],
        ["", f"{exact} with exact tiling, or {in_memory} and {in_files} of temporary files"],
    ]
    strides, steps = network.window.strides, network.window.steps
    config = network.config | {"window": f"{quantity(network.window.size, 'pixel')}, strides {strides}, steps {steps}"}
    rows += [[key.replace("_", " "), value] for key, value in config.items()]
    if differing:
        rows.append(["base model", f"{base}: {base_cost.params:,} parameters, {base_cost.macs / 1e9:.2f}G MACs"])
        rows += [
            [f"differs: {key}", f"{format_value(value)} (base: {format_value(base_value)})"]
            for key, (value, base_value) in differing.items()
        ]
    rows += [[f"training: {key}", value] for key, value in report.get("training", {}).items()]
    print_table(["", ""], [["model", model], *rows])
