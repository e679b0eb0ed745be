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
    details: Annotated[
        bool, typer.Option("--details", help="List the packaged weights with purpose, cost, size, scores and license.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List models and their packaged weights.

    Example: lamnet list '*_x4' --details
    """
    from lamnet_models import names

    if details:
        _list_details(pattern, as_json)
        return
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
    _print_purposes([weights for row in rows for weights in row["weights"]])


def _list_details(pattern: str, as_json: bool) -> None:
    from lamnet_models import names

    weights = [names.describe_weights(name) for name in names.list_models(pattern, pretrained=True)]
    if as_json:
        print_json([vars(entry) for entry in weights])
        return
    datasets = list(dict.fromkeys(dataset for entry in weights for dataset in entry.scores))
    rows = []
    for entry in weights:
        scores = (f"{score[0]:.2f}" if score else "" for score in map(entry.scores.get, datasets))
        costs = (f"{entry.params / 1e3:.0f} K", f"{entry.macs / 1e9:.0f} G", f"{entry.bytes / 1e6:.1f} MB")
        rows.append([entry.name, entry.purpose, *costs, *scores])
    columns = ["Weights", "For", "Params", "MACs", "File", *datasets]
    print_table(columns, rows, numeric=tuple(columns[2:]))
    print(f"MACs at 1280×720 output; PSNR in dB, on Y (SSIM: --json); license {names.LICENSE}.")
    print("Time and memory on this machine: lamnet bench MODEL -s SCALE --memory.")
    _print_purposes([entry.name for entry in weights])


def _print_purposes(weights: list[str]) -> None:
    """Print a line for each purpose of packaged weights, given as ``NAME.TAG``."""
    from lamnet_models import names

    for purpose in dict.fromkeys(names.purpose_of(name) for name in weights):
        print(f"{purpose}: for {names.PURPOSES[purpose]}.")
