"""Output of the commands: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import csv
import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

_UNLIMITED = 10**6
"""Console width, in characters, that no line exceeds."""


def print_error(message: str) -> None:
    """Print an error on standard error."""
    print_note(f"error: {message}")


def print_note(message: str) -> None:
    """Print a note on standard error: one line, which a terminal gets wrapped at spaces."""
    console = Console(stderr=True)
    text = f"lamnet: {message}"
    if console.is_terminal:
        text = textwrap.fill(text, console.width, break_long_words=False, break_on_hyphens=False)
    print(text, file=sys.stderr, flush=True)


class ImportNotice:
    """Import hook that prints a note when the first package that takes seconds to import is imported."""

    _PACKAGES: ClassVar = {"torch": "PyTorch", "gradio": "Gradio"}

    @classmethod
    def install(cls) -> None:
        """Install the hook, unless one of the packages is loaded."""
        if not cls._PACKAGES.keys() & sys.modules.keys():
            sys.meta_path.insert(0, cls())

    def find_spec(self, name: str, *_: object) -> None:
        """Print the note; other finders find the package."""
        if name in self._PACKAGES and self in sys.meta_path:
            sys.meta_path.remove(self)
            print_note(f"loading {self._PACKAGES[name]}")


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output, in ASCII, which every encoding has."""
    print(json.dumps(value, indent=2))


def print_csv(columns: list[str], rows: list[list[object]]) -> None:
    """Print comma-separated values on standard output."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)


def print_table(columns: list[str], rows: list[list[object]], numeric: tuple[str, ...] = ()) -> None:
    """Print a table on standard output, or a list of cells if the terminal is too narrow for whole words.

    Args:
        columns: Column names; if all are empty, the table has no header.
        rows: Cells of each row.
        numeric: Names of the right-aligned columns.
    """
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _UNLIMITED  # one line per row for other programs
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(columns), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # Text: no markup in values
    whole_words = Measurement.get(console, console.options.update(max_width=_UNLIMITED), table).minimum
    if whole_words <= console.width:
        console.print(table)
        return
    for row in rows:
        for index, (column, cell) in enumerate(zip(columns, row, strict=True)):
            text = f"{'  ' if index else ''}{f'{column}: ' if column else ''}{cell}"
            console.print(Text(text, overflow="ignore"), crop=False)


def check_output(path: Path, overwrite: bool) -> None:
    """Raise a usage error if a file cannot be written to a path. Missing folders are created when it is written.

    Args:
        path: File to write.
        overwrite: Whether the file may exist.
    """
    if path.is_dir():
        raise typer.BadParameter(f"output must be a file, got the folder {path}")
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    if not nearest.is_dir():
        raise typer.BadParameter(f"output must be in a folder, got {path}, but {nearest} is a file")
    if path.exists() and not overwrite:
        raise typer.BadParameter(f"{path} exists: pass --overwrite, or choose another name")


# Progress bars and spinners on standard error, if it is a terminal


def progress_bar(downloads: bool = False) -> Progress:
    """Return a transient progress display.

    Args:
        downloads: Whether it counts bytes instead of items.
    """
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn() if downloads else MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@contextmanager
def spinner() -> Iterator[Callable[[str], None]]:
    """Yield a function that sets the text of a status line."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as status:
        yield lambda text: status.update(text)


class JobBars:
    """Progress bars for a sequence of jobs: one over all jobs, and one for the current job.

    Args:
        count: Number of jobs; the bar over all is hidden for one.
    """

    def __init__(self, count: int) -> None:
        self._bars = progress_bar()
        self._total = self._bars.add_task("files", total=count, visible=count > 1)
        self._current = self._bars.add_task("", total=None)

    def __enter__(self) -> JobBars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def start(self, name: str) -> None:
        """Show the name of the current job."""
        self._bars.reset(self._current, description=name, total=None)

    def update(self, done: int, total: int) -> None:
        """Show the progress of the current job; total 0: unknown."""
        self._bars.update(self._current, completed=done, total=total or None)

    def finish(self, done: int) -> None:
        """Set the number of finished jobs."""
        self._bars.update(self._total, completed=done)
