"""``lamnet create``: create a model and write it as a checkpoint."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

from .convert import Format
from .options import Json, Overwrite, check_models
from .output import check_output, print_json, print_note, print_table


def create(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Model name, such as lamnet_x4, or hf-hub:ORG/NAME; see lamnet list."),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Further settings, as for --set.", show_default=False),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Settings that override the model's: scale, in_chans, embed_dim, num_blocks, depth, num_heads, "
            "window.strides, window.steps, attn_layer, channel_layer, gate_layer, mlp_layer or hidden_dim.",
        ),
    ] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Load pretrained weights.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Checkpoint to write: .safetensors, or .pth (original format)."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Create a model and write a checkpoint.

    With --set, a published model is modified: the ablations of the paper's Table 4, or other sizes.

    Example: lamnet create lamnet_x2 --set window.strides=1,2 window.steps=3,3 -o my.safetensors
    """
    format = None
    if output:
        check_output(output, overwrite)
        format = Format.of(output).value
    check_models(name)
    from lamnet_models import save_checkpoint
    from lamnet_models.factory import create_variant, format_value, nearest_published, parse_settings

    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        model = create_variant(name, parse_settings([*(set_ or []), *(settings or [])]), pretrained=pretrained)
    for note in notes:
        print_note(str(note.message))
    weights = (model.pretrained_cfg.get("file") or name) if pretrained else None
    if output:
        training = {"initialized_from": Path(weights).name} if weights else None
        save_checkpoint(model, output, training=training, format=format)
    params = sum(parameter.numel() for parameter in model.parameters())
    _, differing = nearest_published(model)
    if as_json:
        written = str(output) if output else None
        print_json({"name": name, "params": params, "weights": weights, "file": written, "config": model.config})
        return
    print_table(
        ["", ""],
        [
            ["model", f"{name}, ×{model.scale}, {params:,} parameters"],
            *(
                [f"set: {key}", f"{format_value(value)} (published: {format_value(base_value)})"]
                for key, (value, base_value) in differing.items()
            ),
            ["weights", weights or "random (load trained weights with --pretrained)"],
            ["written to", output or "no file (set one with -o)"],
        ],
    )
