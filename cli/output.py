"""What the commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import typer


def print_error(message: str) -> None:
    """Prints one line on standard error."""
    print(f"lamnet: error: {message}", file=sys.stderr)


def print_note(message: str) -> None:
    """Prints one line on standard error that is no error."""
    print(f"lamnet: {message}", file=sys.stderr)


def print_json(value: Any) -> None:
    """Prints a value as JSON on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_csv(columns: list[str], rows: list[list[object]]) -> None:
    """Prints comma-separated values on standard output."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)


def print_table(columns: list[str], rows: list[list[object]], numeric: tuple[str, ...] = ()) -> None:
    """Prints a table on standard output.

    Args:
        columns: The columns' names; empty ones make a table without a head.
        rows: The rows' cells.
        numeric: Names of the columns to align to the right.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(columns), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # Text: brackets in paths are no markup
    Console().print(table)


def check_output(path: Path, overwrite: bool) -> None:
    """Ends with a usage error if a file cannot be written to a path, before any work is done.

    Args:
        path: The file to write.
        overwrite: Whether it may exist already.
    """
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a folder: name a file")
    if not path.parent.is_dir():
        raise typer.BadParameter(f"the folder {path.parent} does not exist: make it first")
    if path.exists() and not overwrite:
        raise typer.BadParameter(f"{path} exists: choose another name, or pass --overwrite")
