"""Folder and format of the generated tables."""

import platform
from collections.abc import Iterable
from datetime import date
from pathlib import Path

ASSETS = Path(__file__).parents[1] / "assets"


def table(columns: Iterable[object], rows: Iterable[Iterable[object]]) -> list[str]:
    """Return the lines of a Markdown table."""
    columns = list(columns)
    return [table_row(columns), table_row(["---"] * len(columns)), *map(table_row, rows)]


def table_row(cells: Iterable[object]) -> str:
    """Return one row of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def read_tables(name: str) -> list[list[dict[str, str]]]:
    """Return the rows of each table in a file, as cells by column name."""
    tables = []
    for part in (ASSETS / name).read_text(encoding="utf-8").split("\n\n"):
        if part.startswith("|"):
            columns, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines())
            tables.append([dict(zip(columns, row, strict=True)) for row in rows])
    return tables


def write_lines(name: str, lines: Iterable[str]) -> None:
    """Write a file that a page includes."""
    (ASSETS / name).write_text("\n".join([*lines, ""]), encoding="utf-8")


def machine(*versions: str) -> str:
    """Return a description of the processor, the threads, the versions of torch and others, and the date."""
    import torch  # not needed by hooks.py

    cpu, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    software = ", ".join([f"torch {torch.__version__}", *versions])
    return f"{platform.machine()} with {cpu}, {threads} threads; {software}; {date.today()}"
