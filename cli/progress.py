"""Bars and spinners on standard error, where that is a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def progress_bar(downloads: bool = False) -> Progress:
    """Returns rich's bars, which vanish when they are done.

    Args:
        downloads: Whether they count bytes, instead of things.
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
    """Yields a function that shows what is being done, for as long as nothing else is said."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as status:
        yield lambda text: status.update(text)


class JobBars:
    """Bars over many jobs: one over all, if they are several, and one over the steps of the one under way.

    Args:
        count: Number of the jobs.
    """

    def __init__(self, count: int) -> None:
        self._bars = progress_bar()
        self._all = self._bars.add_task("files", total=count, visible=count > 1)
        self._name: str | None = None
        self._one = self._bars.add_task("", total=None)

    def __enter__(self) -> JobBars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def step(self, name: str, done: int, total: int) -> None:
        """Shows how far the job under way is, by its name."""
        if name != self._name:
            self._bars.reset(self._one, description=name, total=None)
            self._name = name
        self._bars.update(self._one, completed=done, total=total or None)

    def finish(self, done: int) -> None:
        """Shows that so many jobs are done."""
        self._bars.update(self._all, completed=done)
