"""Reproduced tables and figures, with our values next to the paper's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from ..filesystem import atomic_path
from ..inference.sizing import SCALES

_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9}


def check_scales(*scales: int) -> None:
    """Raise a ValueError if the paper has no models of a scale."""
    for scale in scales:
        if scale not in SCALES:
            raise ValueError(f"scale must be {', '.join(map(str, SCALES))}, got {scale}")


def format_like(value: float, like: str) -> str:
    """Format a count like a printed one: 185310000 like ``"186G"`` is ``"185G"``."""
    return f"{value / _UNITS[like[-1]]:.{_digits(like)}f}{like[-1]}"


def compare_with_printed(value: float, printed: str | None) -> str:
    """Return a short comparison of a count with a printed one."""
    if printed is None:
        return "not printed"
    unit, digits = _UNITS[printed[-1]], _digits(printed)
    number = float(printed[:-1])
    if abs(value / unit - number) <= 0.5 * 10**-digits * (1 + 1e-9):
        return "equal"
    if value / unit // 10**-digits * 10**-digits == number:
        return "equal if truncated"
    return f"differs by {value / unit / number - 1:+.1%}".replace("-", "−")


def _digits(printed: str) -> int:
    return len(printed[:-1].partition(".")[2])


@dataclass(frozen=True)
class Score:
    """Measured and printed PSNR and SSIM.

    Attributes:
        ours: Measured PSNR in dB and SSIM; None if not measured.
        paper: PSNR in dB and SSIM printed in the paper; None if missing.
    """

    ours: tuple[float, float] | None
    paper: tuple[float, float] | None

    def __str__(self) -> str:
        """Return ``ours (paper)``, without missing values."""
        ours, paper = (pair and f"{pair[0]:.2f}/{pair[1]:.4f}" for pair in (self.ours, self.paper))
        return " ".join(part for part in (ours, paper and f"({paper})") if part) or "–"


Cell: TypeAlias = str | int | float | Score | None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: Title.
        columns: Names of the columns.
        rows: Cells by row, one per column.
        notes: Sentences below the table.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """Return the table in Markdown, with right-aligned numbers."""
        numeric = [all(isinstance(row[i], int | float | None) for row in self.rows) for i in range(len(self.columns))]
        lines = [
            self.columns,
            ["---:" if right else "---" for right in numeric],
            *(map(_text, row) for row in self.rows),
        ]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return "\n\n".join([f"**{self.title}**", table, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Return the table as JSON-serializable values, rows as values by column."""
        rows = [{name: _plain(cell) for name, cell in zip(self.columns, row, strict=True)} for row in self.rows]
        return {"title": self.title, "rows": rows, "notes": list(self.notes)}


@dataclass(frozen=True)
class Reproduction:
    """Reproduced table or figure of the paper.

    Attributes:
        item: Name of the item, such as ``"table3"``.
        title: Title.
        tables: Tables; for a figure, the plotted numbers.
        notes: Sentences below the tables.
        draw: Function that writes a figure to a path ending in ``.png`` or ``.svg``; None for a table.
    """

    item: str
    title: str
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    draw: Callable[[Path], object] | None = field(default=None, compare=False)

    def markdown(self) -> str:
        """Return the tables and notes in Markdown."""
        return "\n\n".join([f"## {self.title}", *(table.markdown() for table in self.tables), *self.notes]) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """Return the tables and notes as JSON-serializable values."""
        tables = [table.to_dict() for table in self.tables]
        return {"item": self.item, "title": self.title, "tables": tables, "notes": list(self.notes)}

    def save(self, folder: str | os.PathLike) -> list[Path]:
        """Write ``ITEM.md``, ``ITEM.json`` and, for a figure, ``ITEM.png`` and ``ITEM.svg``.

        Args:
            folder: Output folder, created if missing; existing files are overwritten.

        Returns:
            The written files.
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
    """Return the paths of an item's output files."""
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
