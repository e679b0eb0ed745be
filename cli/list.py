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
    from lamnet_models import names

    rows = []
    for name in names.list_models(pattern):
        scale, weights = names.VARIANTS[name]["scale"], names.list_models(name, pretrained=True)
        if weights or not pretrained:
            rows.append({"name": name, "scale": scale, "params": names.NUM_PARAMS[name], "weights": weights})
    if as_json:
        print_json(rows)
        return
    print_table(
        ["Model", "Scale", "Parameters", "Packaged weights"],
        [[row["name"], f"×{row['scale']}", f"{row['params']:,}", ", ".join(row["weights"])] for row in rows],
        numeric=("Parameters",),
    )
