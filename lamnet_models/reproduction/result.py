"""What reproducing an item gives: tables with our values beside the paper's, a picture, and both as files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from ..files import atomic_path


@dataclass(frozen=True)
class Score:
    """PSNR and SSIM, and what the paper prints for them.

    Attributes:
        ours: PSNR in dB and SSIM as measured here; None where they were not.
        paper: What the paper prints, None where it prints nothing.
    """

    ours: tuple[float, float] | None
    paper: tuple[float, float] | None

    def __str__(self) -> str:
        """Returns ours with the paper's behind it, which stands alone in brackets where nothing was measured."""
        ours, paper = (pair and f"{pair[0]:.2f}/{pair[1]:.4f}" for pair in (self.ours, self.paper))
        return " ".join(part for part in (ours, paper and f"({paper})") if part) or "–"


Cell: TypeAlias = str | int | float | Score | None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: What it shows.
        columns: The columns' names.
        rows: The rows' cells, as many in each as there are columns.
        notes: Sentences below it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """Returns it in Markdown, numbers aligned to the right."""
        numeric = [all(isinstance(row[i], int | float | None) for row in self.rows) for i in range(len(self.columns))]
        lines = [
            self.columns,
            ["---:" if right else "---" for right in numeric],
            *(map(_text, row) for row in self.rows),
        ]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return "\n\n".join([f"**{self.title}**", table, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Returns it ready for JSON, a row as values by column."""
        rows = [{name: _plain(cell) for name, cell in zip(self.columns, row, strict=True)} for row in self.rows]
        return {"title": self.title, "rows": rows, "notes": list(self.notes)}


@dataclass(frozen=True)
class Reproduction:
    """An item of the paper, made again.

    Attributes:
        item: Its name, ``"table3"``.
        title: What it shows.
        tables: Its tables; a figure's have the numbers that it is drawn from.
        notes: What else has to be said.
        draw: Writes the picture of a figure to a path that ends in ``.png`` or ``.svg``; None for a table.
    """

    item: str
    title: str
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    draw: Callable[[Path], object] | None = field(default=None, compare=False)

    def markdown(self) -> str:
        """Returns all but the picture in Markdown."""
        return "\n\n".join([f"## {self.title}", *(table.markdown() for table in self.tables), *self.notes]) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """Returns all but the picture ready for JSON."""
        tables = [table.to_dict() for table in self.tables]
        return {"item": self.item, "title": self.title, "tables": tables, "notes": list(self.notes)}

    def save(self, folder: str | os.PathLike) -> list[Path]:
        """Writes ``ITEM.md`` and ``ITEM.json`` and, of a figure, ``ITEM.png`` and ``ITEM.svg``.

        Args:
            folder: Where to, made if it is not there; files of those names are written over.

        Returns:
            What was written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        texts = {".md": self.markdown(), ".json": json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"}
        for suffix, text in texts.items():
            with atomic_path(folder / f"{self.item}{suffix}") as temporary:
                temporary.write_text(text, encoding="utf-8")
        for suffix in PICTURES if self.draw else ():
            self.draw(folder / f"{self.item}{suffix}")
        return output_files(self.item, folder, pictures=self.draw is not None)


PICTURES = (".png", ".svg")


def output_files(item: str, folder: str | os.PathLike, pictures: bool) -> list[Path]:
    """Returns the files that an item is written to."""
    return [Path(folder) / f"{item}{suffix}" for suffix in (".md", ".json", *(PICTURES if pictures else ()))]


def _text(cell: Cell) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.3g}" if isinstance(cell, float) else str(cell).replace("|", "\\|")


def _plain(cell: Cell) -> Any:
    if isinstance(cell, Score):
        return {"ours": cell.ours and list(cell.ours), "paper": cell.paper and list(cell.paper)}
    return cell
