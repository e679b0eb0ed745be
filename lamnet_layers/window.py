"""Focal window: fine cells near the center, coarse cells far from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

from .validation import check_int


@dataclass(frozen=True)
class FocalWindow:
    """One-dimensional window of cells whose length grows with the distance from the center.

    ``strides`` and ``steps`` describe one side; the other side mirrors it, and the center is a cell of one pixel. With
    ``strides=(1, 2, 4)`` and ``steps=(3, 2, 1)``, each side has three cells of 1 pixel, two cells of 2 pixels and one
    cell of 4 pixels: 13 taps covering 23 pixels.

    Adjacent rings of equal stride are merged, so windows are equal if and only if their cells are.

    Source: paper, section 3.2 (focal window); the default is that of the published models.

    Attributes:
        strides: Cell length in pixels of each ring, from the center outward, each ≥ 1.
        steps: Number of cells of each ring, each ≥ 1. Same length as ``strides``; both may be empty (one pixel).

    Raises:
        ValueError: If a stride or step is not an integer ≥ 1, or the lengths differ.
    """

    strides: tuple[int, ...] = (1, 2, 4)
    steps: tuple[int, ...] = (3, 2, 1)

    def __post_init__(self) -> None:
        for name in ("strides", "steps"):
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise ValueError(f"{name} must be a sequence of integers, such as (1, 2, 4), got {value!r}")
            value = tuple(check_int(f"{name}[{i}]", item, minimum=1) for i, item in enumerate(value))
            object.__setattr__(self, name, value)
        if len(self.strides) != len(self.steps):
            raise ValueError(
                f"strides and steps must have the same length, got {self.strides} and {self.steps} "
                f"of length {len(self.strides)} and {len(self.steps)}"
            )
        rings = [
            (stride, sum(step for _, step in ring))
            for stride, ring in groupby(zip(self.strides, self.steps, strict=True), key=itemgetter(0))
        ]
        object.__setattr__(self, "strides", tuple(stride for stride, _ in rings))
        object.__setattr__(self, "steps", tuple(step for _, step in rings))

    @classmethod
    def of(cls, window: WindowLike) -> FocalWindow:
        """Return a FocalWindow: ``window`` itself, from a pair (strides, steps), or the default."""
        if window is None:
            return cls()
        if isinstance(window, FocalWindow):
            return window
        if not isinstance(window, Sequence) or isinstance(window, str) or len(window) != 2:
            raise ValueError(f"window must be a FocalWindow or a pair (strides, steps), got {window!r}")
        return cls(*window)

    @classmethod
    def from_cells(cls, cells: Iterable[Sequence[int]]) -> FocalWindow:
        """Return the window with the given cells.

        Inverse of [`cells`][lamnet_layers.FocalWindow.cells].

        Args:
            cells: K pairs (offset, length), in the order of [`cells`][lamnet_layers.FocalWindow.cells].

        Raises:
            ValueError: If the cells do not form a focal window.
        """
        try:
            pairs = tuple(tuple(cell) for cell in cells)
            lengths = [int(length) for _, length in pairs[len(pairs) // 2 + 1 :]]
            window = cls(lengths, [1] * len(lengths))
            if window.cells == pairs:
                return window
        except (TypeError, ValueError, OverflowError):  # any content of a damaged checkpoint
            pass
        raise ValueError(f"cells must be a center with contiguous cells mirrored on both sides, got {cells!r}")

    @property
    def cells(self) -> tuple[tuple[int, int], ...]:
        """The K cells as pairs (offset, length), from the most negative offset to the most positive.

        The offset is the pixel nearest to the center: a cell at offset o > 0 covers o … o + length − 1, a cell at
        offset −o covers −o − length + 1 … −o.
        """
        right, offset = [], 1
        for stride, step in zip(self.strides, self.steps, strict=True):
            for _ in range(step):
                right.append((offset, stride))
                offset += stride
        left = [(-offset, length) for offset, length in reversed(right)]
        return (*left, (0, 1), *right)

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """The K cells as pairs (first pixel relative to the center, length), ordered as ``cells``."""
        return tuple((offset if offset >= 0 else offset - length + 1, length) for offset, length in self.cells)

    @property
    def radius(self) -> int:
        """Number of pixels covered on each side of the center, Σ strides·steps."""
        return sum(stride * step for stride, step in zip(self.strides, self.steps, strict=True))

    @property
    def size(self) -> int:
        """Number of pixels covered, P = 2·radius + 1."""
        return 2 * self.radius + 1

    @property
    def taps(self) -> int:
        """Number of cells, K = 2·Σ steps + 1."""
        return 2 * sum(self.steps) + 1


WindowLike: TypeAlias = FocalWindow | tuple[Sequence[int], Sequence[int]] | None
"""Types accepted as a window: a FocalWindow, a pair (strides, steps), or None for the default."""
