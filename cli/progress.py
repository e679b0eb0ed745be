"""Progress bars and spinners on standard error, if it is a terminal."""

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
