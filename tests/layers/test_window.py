"""FocalWindow: cells, equality and argument checks."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamnet_layers import FocalSeparableAttention, FocalWindow

DEFAULT_SIDE = ((1, 1), (2, 1), (3, 1), (4, 2), (6, 2), (8, 4))

rings = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), max_size=4)


def window_of(rings: list[tuple[int, int]]) -> FocalWindow:
    return FocalWindow([stride for stride, _ in rings], [step for _, step in rings])


def pixels(offset: int, length: int) -> range:
    return range(offset, offset + length) if offset >= 0 else range(offset - length + 1, offset + 1)


def test_default_window():
    window = FocalWindow()
    assert window == FocalWindow((1, 2, 4), (3, 2, 1))
    assert window.cells == (*((-o, n) for o, n in reversed(DEFAULT_SIDE)), (0, 1), *DEFAULT_SIDE)
    assert (window.radius, window.size, window.taps) == (11, 23, 13)


@pytest.mark.parametrize(
    ("strides", "steps", "size", "taps"),
    [((1, 2), (3, 3), 19, 13), ((1,), (6,), 13, 13), ((), (), 1, 1), ((5,), (1,), 11, 3), ((3, 1), (1, 2), 11, 7)],
)
def test_size_and_taps(strides, steps, size, taps):
    window = FocalWindow(strides, steps)
    assert (window.size, window.taps, len(window.cells)) == (size, taps, taps)


@given(rings)
def test_cells_partition_window_in_order(rings):
    window = window_of(rings)
    assert [pixel for cell in window.cells for pixel in pixels(*cell)] == list(range(-window.radius, window.radius + 1))
    assert [list(pixels(*cell)) for cell in window.cells] == [
        list(range(first, first + length)) for first, length in window.spans
    ]
    side = [length for stride, step in rings for length in [stride] * step]
    assert [length for _, length in window.cells] == [*reversed(side), 1, *side]
    assert window.taps == len(window.cells)
    assert window.size == 2 * window.radius + 1


@given(rings)
def test_from_cells_is_the_inverse_of_cells(rings):
    window = window_of(rings)
    assert FocalWindow.from_cells(window.cells) == window
    assert FocalWindow.from_cells([[float(o), float(n)] for o, n in window.cells]) == window


def test_equal_cells_equal_windows():
    window = FocalWindow((1, 1, 2), (2, 1, 1))
    assert window == FocalWindow((1, 2), (3, 1))
    assert hash(window) == hash(FocalWindow((1, 2), (3, 1)))
    assert FocalWindow((1, 2), (2, 1)) != FocalWindow((2, 1), (1, 2))


@pytest.mark.parametrize(
    "cells",
    [
        [],
        [(0, 2)],
        [(-1, 1), (0, 1)],
        [(-2, 1), (0, 1), (2, 1)],
        [(-1, 2), (0, 1), (1, 1)],
        [(1, 1), (0, 1), (-1, 1)],
        [(-1, 0), (0, 1), (1, 0)],
        [(-1, -1), (0, 1), (1, -1)],
        [(-1, 1.5), (0, 1), (1, 1.5)],
        [(-1, float("nan")), (0, 1), (1, float("nan"))],
        [(-1, float("inf")), (0, 1), (1, float("inf"))],
        [(-1, "1"), (0, 1), (1, "1")],
        [(-1, None), (0, 1), (1, None)],
        [(-1,), (0,), (1,)],
        [(-1, 1, 1), (0, 1, 1), (1, 1, 1)],
        [1, 2, 3],
        5,
    ],
)
def test_from_cells_invalid_raises(cells):
    with pytest.raises(ValueError, match=r"^cells must"):
        FocalWindow.from_cells(cells)


@pytest.mark.parametrize(
    ("strides", "steps", "message"),
    [
        ((0,), (1,), r"^strides\[0\] .*0"),
        ((1, 2), (1, -1), r"^steps\[1\] .*-1"),
        ((1.0,), (1,), r"^strides\[0\] .*1\.0"),
        ((True,), (1,), r"^strides\[0\] .*True"),
        (("1",), (1,), r"^strides\[0\] .*'1'"),
        (3, (1,), "^strides .*3"),
        ("123", (1,), "^strides .*'123'"),
        ((1, 2), (3,), r"^strides and steps .*\(1, 2\) and \(3,\)"),
    ],
)
def test_invalid_arguments(strides, steps, message):
    with pytest.raises(ValueError, match=message):
        FocalWindow(strides, steps)


def test_of_accepts_window_pair_and_none():
    window = FocalWindow((1, 2), (1, 1))
    assert FocalWindow.of(window) is window
    assert FocalWindow.of(((1, 2), (1, 1))) == FocalWindow.of([[1, 2], [1, 1]]) == window
    assert FocalWindow.of(None) == FocalWindow()
    assert FocalSeparableAttention(4, num_heads=1, window=window).window == window


@pytest.mark.parametrize("window", [5, "12", ((1,),), ((1,), (1,), (1,)), {"strides": (1,), "steps": (1,)}])
def test_of_invalid_raises(window):
    with pytest.raises(ValueError, match=r"^window must"):
        FocalWindow.of(window)


def test_immutable_copy_and_pickle():
    window = FocalWindow((1, 3), (2, 1))
    with pytest.raises(AttributeError):
        window.strides = (1,)
    assert copy.deepcopy(window) == pickle.loads(pickle.dumps(window)) == window
