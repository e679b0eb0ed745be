"""The focal window: fine cells near the centre, coarse cells far from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

from ._checks import check_int


@dataclass(frozen=True)
class FocalWindow:
    """A one-dimensional window whose cells grow with their distance from the centre.

    A window is given for one side of the centre and mirrored on the other; the centre is a cell of its own. With
    ``strides=(1, 2, 4)`` and ``steps=(3, 2, 1)`` there are, on each side, three cells of 1 pixel, two cells of 2 pixels
    and one cell of 4 pixels: 13 taps that see 23 pixels.

    Neighbouring rings of the same stride become one, so that two windows are equal exactly when their cells are.

    Source: paper, section 3.2 (focal window); the default is the one of the published models.

    Attributes:
        strides: Length in pixels of the cells of each ring, from the centre outwards, each ≥ 1.
        steps: Number of cells of each ring, each ≥ 1. As many as ``strides``; both may be empty: a window of one pixel.

    Raises:
        ValueError: If a stride or step is not an integer ≥ 1, or their numbers differ.
    """

    strides: tuple[int, ...] = (1, 2, 4)
    steps: tuple[int, ...] = (3, 2, 1)

    def __post_init__(self) -> None:
        for name in ("strides", "steps"):
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise ValueError(f"{name} is {value!r}, but it must be a sequence of integers, such as (1, 2, 4)")
            value = tuple(check_int(f"{name}[{i}]", item, minimum=1) for i, item in enumerate(value))
            object.__setattr__(self, name, value)
        if len(self.strides) != len(self.steps):
            raise ValueError(
                f"strides {self.strides} and steps {self.steps} must have the same length, "
                f"but have {len(self.strides)} and {len(self.steps)}"
            )
        rings = [
            (stride, sum(step for _, step in ring))
            for stride, ring in groupby(zip(self.strides, self.steps, strict=True), key=itemgetter(0))
        ]
        object.__setattr__(self, "strides", tuple(stride for stride, _ in rings))
        object.__setattr__(self, "steps", tuple(step for _, step in rings))

    @classmethod
    def of(cls, window: WindowLike) -> FocalWindow:
        """Returns ``window`` itself, one built from a pair ``(strides, steps)``, or for ``None`` the default."""
        if window is None:
            return cls()
        if isinstance(window, FocalWindow):
            return window
        if not isinstance(window, Sequence) or isinstance(window, str) or len(window) != 2:
            raise ValueError(f"window is {window!r}, but it must be a FocalWindow or a pair (strides, steps)")
        return cls(*window)

    @classmethod
    def from_cells(cls, cells: Iterable[Sequence[int]]) -> FocalWindow:
        """Returns the window that has exactly these cells: the inverse of [`cells`][lamnet_layers.FocalWindow.cells].

        Args:
            cells: K pairs (offset, length), in the order of [`cells`][lamnet_layers.FocalWindow.cells].

        Raises:
            ValueError: If the cells are not those of a focal window.
        """
        try:
            given = tuple(tuple(cell) for cell in cells)
            lengths = [int(length) for _, length in given[len(given) // 2 + 1 :]]
            window = cls(lengths, [1] * len(lengths))
            if window.cells == given:
                return window
        except (TypeError, ValueError, OverflowError):  # whatever a damaged checkpoint has there
            pass
        raise ValueError(f"cells are {cells!r}, which is not a centre with contiguous cells mirrored on both sides")

    @property
    def cells(self) -> tuple[tuple[int, int], ...]:
        """The K cells as pairs (offset, length), from the most negative offset to the most positive.

        A cell at a positive offset o covers the pixels o … o + length − 1, one at a negative offset −o covers
        −o − length + 1 … −o: the offset is always the pixel nearest to the centre.
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
        """The K cells as pairs (first pixel relative to the centre, length), in the order of ``cells``."""
        return tuple((offset if offset >= 0 else offset - length + 1, length) for offset, length in self.cells)

    @property
    def radius(self) -> int:
        """Number of pixels seen on each side of the centre: Σ strides·steps."""
        return sum(stride * step for stride, step in zip(self.strides, self.steps, strict=True))

    @property
    def size(self) -> int:
        """Number of pixels seen, P = 2·radius + 1."""
        return 2 * self.radius + 1

    @property
    def taps(self) -> int:
        """Number of cells, and so of weights, K = 2·Σ steps + 1."""
        return 2 * sum(self.steps) + 1


WindowLike: TypeAlias = FocalWindow | tuple[Sequence[int], Sequence[int]] | None
"""What every layer takes as a window: one, a pair (strides, steps), or None for the default."""
