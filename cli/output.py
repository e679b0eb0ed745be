"""Output of the commands: results on standard output, everything else on standard error."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import typer


def print_error(message: str) -> None:
    """Print an error, one line on standard error."""
    print(f"lamnet: error: {message}", file=sys.stderr)


def print_note(message: str) -> None:
    """Print a note, one line on standard error."""
    print(f"lamnet: {message}", file=sys.stderr)


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_csv(columns: list[str], rows: list[list[object]]) -> None:
    """Print comma-separated values on standard output."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)


def print_table(columns: list[str], rows: list[list[object]], numeric: tuple[str, ...] = ()) -> None:
    """Print a table on standard output.

    Args:
        columns: Column names; if all are empty, the table has no header.
        rows: Cells of each row.
        numeric: Names of the right-aligned columns.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(columns), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # Text: no markup in values
    Console().print(table)


def check_output(path: Path, overwrite: bool) -> None:
    """Raise a usage error if a file cannot be written to a path.

    Args:
        path: File to write.
        overwrite: Whether the file may exist.
    """
    if path.is_dir():
        raise typer.BadParameter(f"output must be a file, got the folder {path}")
    if not path.parent.is_dir():
        raise typer.BadParameter(f"output folder {path.parent} does not exist: create it first")
    if path.exists() and not overwrite:
        raise typer.BadParameter(f"{path} exists: pass --overwrite, or choose another name")
