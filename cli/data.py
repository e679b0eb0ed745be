"""``lamnet data``: list, download and verify datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .layout import Command, Group
from .options import Data, Json
from .output import print_error, print_json, print_note, print_table, progress_bar

app = typer.Typer(cls=Group, help="List, download and verify datasets.", no_args_is_help=True)


def fetch_with_progress(name: str, data: Path | None, source: str | None = None) -> str:
    """Download a dataset unless it is present, with progress bars, and return its folder."""
    from lamnet_models.data import fetch, known_dataset

    if known_dataset(name) is None and Path(name).is_dir():
        return name
    with progress_bar(downloads=True) as progress:

        def start(file: str):
            if progress.disable:
                print_note(f"downloading {file}")
            task = progress.add_task(file, total=None)
            return lambda done, total: progress.update(task, completed=done, total=total)

        return str(fetch(name, data, source, start).folder)


@app.command("list", cls=Command)
def list_sets(data: Data = None, as_json: Json = False) -> None:
    """List the known datasets and their folders.

    Example: lamnet data list
    """
    from lamnet_models import DatasetError
    from lamnet_models.data import KNOWN_DATASETS, open_dataset

    rows = []
    for known in KNOWN_DATASETS.values():
        dataset = None
        for scale in (2, 3, 4):
            try:
                dataset = dataset or open_dataset(known.name, scale, data)
            except DatasetError:
                continue
        rows.append(
            {
                "name": known.name,
                "images": known.count,
                "content": known.content,
                "folder": str(dataset.folder) if dataset else None,
                "layout": dataset.layout if dataset else None,
                "get": None if dataset else known.fetch_hint(data),
            }
        )
    if as_json:
        print_json(rows)
        return
    print_table(
        ["dataset", "images", "content", "folder"],
        [[row["name"], row["images"], row["content"], row["folder"] or "not found"] for row in rows],
        numeric=("images",),
    )
    for row in rows:
        if row["get"]:
            print(f"{row['name']}: {row['get']}")


@app.command("fetch", cls=Command)
def fetch_sets(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Datasets: set5, set14, bsd100, urban100 …")],
    data: Data = None,
    source: Annotated[
        str | None, typer.Option(help="Source: edsr, huggingface or div2k.", show_default="all, in turn")
    ] = None,
) -> None:
    """Download datasets, resuming partial downloads.

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


@app.command("verify", cls=Command)
def verify_sets(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Datasets or folders.", show_default="all present datasets"),
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Verify datasets: read all images and check their number, sizes and digests.

    Example: lamnet data verify set5
    """
    from lamnet_models import DatasetError
    from lamnet_models.data import KNOWN_DATASETS, verify
    from lamnet_models.errors import quantity

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
            state = quantity(len(result.problems), "problem") if result.problems else "ok"
            digests = "digests verified" if result.digests else "digests unknown"
            lr_images = f"with LR {scales}" if scales else "without LR"
            print(f"{result.name}: {state}; {quantity(result.images, 'image')} {lr_images}, {digests}; {result.folder}")
            for problem in result.problems:
                print_error(problem)
    if not results and not failed:
        print_note("no datasets found; download one with: lamnet data fetch set5")
    if failed or any(result.problems for result in results):
        raise typer.Exit(1)
