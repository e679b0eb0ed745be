"""``lamnet data``: the sets of images that networks are measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Data, Json
from .output import print_error, print_json, print_note, print_table
from .progress import bars

app = typer.Typer(help="Lists, downloads and checks sets of images.", no_args_is_help=True)


def fetch_with_progress(name: str, data: Path | None, source: str | None = None) -> str:
    """Downloads a set unless it is there, with a bar for each file; returns where it is."""
    from lamnet_models.datasets import fetch, known_dataset

    if known_dataset(name) is None and Path(name).is_dir():
        return name
    with bars(downloads=True) as progress:

        def start(file: str):
            task = progress.add_task(file, total=None)
            return lambda done, total: progress.update(task, completed=done, total=total)

        return str(fetch(name, data, source, start).folder)


@app.command("list")
def list_sets(data: Data = None, as_json: Json = False) -> None:
    """Lists the known sets and where they are.

    Example: lamnet data list
    """
    from lamnet_models import DatasetError
    from lamnet_models.datasets import KNOWN_DATASETS, open_dataset

    rows = []
    for known in KNOWN_DATASETS.values():
        found = None
        for scale in (2, 3, 4):
            try:
                found = found or open_dataset(known.name, scale, data)
            except DatasetError:
                continue
        rows.append(
            {
                "name": known.name,
                "images": known.count,
                "content": known.content,
                "folder": str(found.folder) if found else None,
                "layout": found.layout if found else None,
                "get": None if found else known.fetch_hint(data),
            }
        )
    if as_json:
        print_json(rows)
        return
    print_table(
        ["set", "images", "content", "where"],
        [[row["name"], row["images"], row["content"], row["folder"] or "not here"] for row in rows],
        numeric=("images",),
    )
    for row in rows:
        if row["get"]:
            print(f"{row['name']}: {row['get']}")


@app.command("fetch")
def fetch_sets(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="Sets: set5, set14, bsd100, urban100 …")],
    data: Data = None,
    source: Annotated[
        str | None, typer.Option(help="Where from: edsr, huggingface, div2k. [default: each in turn]")
    ] = None,
) -> None:
    """Downloads sets, going on where an earlier attempt was cut off.

    Example: lamnet data fetch set5 urban100
    """
    from lamnet_models import DatasetError

    failed = False
    for name in names:
        try:
            print(f"{name}: {fetch_with_progress(name, data, source)}", flush=True)
        except DatasetError as error:
            print_error(str(error))
            failed = True
    if failed:
        raise typer.Exit(1)


@app.command("verify")
def verify_sets(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME…]", help="Sets or folders. [default: all that are there]")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Reads every image of sets and compares numbers, sizes and digests.

    Example: lamnet data verify set5
    """
    from lamnet_models import DatasetError
    from lamnet_models.datasets import KNOWN_DATASETS, verify

    results, failed = [], False
    for name in names or KNOWN_DATASETS:
        try:
            results.append(verify(name, data))
        except DatasetError as error:
            if names:
                print_error(str(error))
                failed = True
    if as_json:
        print_json([vars(result) | {"folder": str(result.folder)} for result in results])
    else:
        for result in results:
            scales = ", ".join(f"×{scale}" for scale in result.scales)
            state = f"{len(result.problems)} problems" if result.problems else "whole"
            digests = "digests compared" if result.digests else "no digests known"
            reductions = f"with LR {scales}" if scales else "without LR"
            print(f"{result.name}: {state}; {result.images} images {reductions}, {digests}; {result.folder}")
            for problem in result.problems:
                print_error(problem)
    if not results and not failed:
        print_note("no sets are here; get one with: lamnet data fetch set5")
    if failed or any(result.problems for result in results):
        raise typer.Exit(1)
