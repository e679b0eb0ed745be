"""``lamnet list``: list the models."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Json
from .output import print_json, print_table


def list_models(
    pattern: Annotated[
        str, typer.Argument(metavar="PATTERN", help="Glob pattern of model names, such as '*_x4'.")
    ] = "lamnet*",
    pretrained: Annotated[bool, typer.Option("--pretrained", help="List only models with packaged weights.")] = False,
    as_json: Json = False,
) -> None:
    """List models and their packaged weights.

    Example: lamnet list --pretrained
    """
    import torch

    import lamnet_models

    packaged = lamnet_models.list_models(pretrained=True)
    rows = []
    for name in sorted(lamnet_models.list_models(pattern), key=lambda name: ("large" in name, name)):
        weights = [entry for entry in packaged if entry.startswith(f"{name}.")]
        if pretrained and not weights:
            continue
        model = lamnet_models.create_model(name, device=torch.device("meta"))
        params = sum(parameter.numel() for parameter in model.parameters())
        rows.append({"name": name, "scale": model.scale, "params": params, "weights": weights})
    if as_json:
        print_json(rows)
        return
    print_table(
        ["Model", "Scale", "Parameters", "Packaged weights"],
        [[row["name"], f"×{row['scale']}", f"{row['params']:,}", ", ".join(row["weights"])] for row in rows],
        numeric=("Parameters",),
    )
