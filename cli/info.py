"""``lamnet info``: what a model is and what it costs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .options import Json, parse_size
from .output import print_json, print_table


def info(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a model, or a checkpoint file.")],
    size: Annotated[
        str | None, typer.Option("--size", help="Input to count at, WIDTHxHEIGHT in pixels. [default: output 1280x720]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Prints a model's parameters, multiply-accumulates, receptive field, memory and, for a file, its training.

    Memory is what enlarging an 8-bit RGB image of the size takes of the host's at its peak, on a CPU in float32.

    Of a model that is none of the published ones, it says what differs from the nearest.

    Example: lamnet info lamnet_x4 --size 1920x1080
    """
    input_size = parse_size("--size", size)[::-1] if size else None

    import torch

    from lamnet_models import LAMNet, complexity, create_model
    from lamnet_models.checkpoint import read_checkpoint
    from lamnet_models.pretrained import is_checkpoint_path
    from lamnet_models.upscaling.footprint import process_memory
    from lamnet_models.variants import format_value, nearest_published

    facts: dict[str, Any] = {"model": model}
    if is_checkpoint_path(model):
        checkpoint = read_checkpoint(model)
        network = checkpoint.build()
        facts |= {"format": checkpoint.format, "training": checkpoint.training}
    else:
        network = create_model(model, device=torch.device("meta"))
    assert isinstance(network, LAMNet)
    cost = complexity(network, input_size)
    height, width = cost.input_size
    memory = process_memory(network, height, width)
    facts |= {
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
    facts["base"] = {
        "model": base,
        "params": base_cost.params,
        "macs": base_cost.macs,
        "differences": {key: {"own": own, "base": other} for key, (own, other) in differing.items()},
    }
    if as_json:
        print_json(facts)
        return
    output = f"{width * network.scale}×{height * network.scale}"
    rows = [
        ["parameters", f"{cost.params:,}"],
        ["input → output", f"{width}×{height} → {output}"],
        ["MACs (paper)", f"{cost.macs / 1e9:.2f}G: convolutions and matrix products, as papers count"],
        ["operations", f"{cost.operations / 1e9:.2f}G: aggregation, norms, gates and activations too"],
        ["receptive field", f"{cost.receptive_field} pixels, beyond it IEM's means of the whole image"],
    ]
    whole, exact, in_files, files = (f"{size / 1e9:.2f} GB" for size in memory.values())
    rows += [
        ["memory", f"{whole} for the whole image"],
        ["", f"{exact} in exact tiles, or {in_files} and {files} of temporary files"],
    ]
    strides, steps = network.window.strides, network.window.steps
    config = network.config | {"window": f"{network.window.size} pixels, strides {strides}, steps {steps}"}
    rows += [[key.replace("_", " "), value] for key, value in config.items()]
    if differing:
        rows.append(["base model", f"{base}: {base_cost.params:,} parameters, {base_cost.macs / 1e9:.2f}G MACs"])
        rows += [
            [f"differs: {key}", f"{format_value(own)} (base: {format_value(other)})"]
            for key, (own, other) in differing.items()
        ]
    rows += [[f"training: {key}", value] for key, value in facts.get("training", {}).items()]
    print_table(["", ""], [["model", model], *rows])
