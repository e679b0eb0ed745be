"""Registry of reproducible tables and figures."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable
from typing import Any

from .figures import figure5, figure6, figure7, figure8, figure9, figure10
from .reproduction import Reproduction
from .tables import table1, table2, table3, table4

ITEMS: dict[str, Callable[..., Reproduction]] = {
    "table1": table1,
    "table2": table2,
    "table3": table3,
    "table4": table4,
    "figure5": figure5,
    "figure6": figure6,
    "figure7": figure7,
    "figure8": figure8,
    "figure9": figure9,
    "figure10": figure10,
}
"""Functions that reproduce a table or figure, by name."""


def reproduce(item: str, folder: str | os.PathLike | None = None, **options: Any) -> Reproduction:
    """Reproduce a table or figure of the paper.

    Args:
        item: Name, a key of [`ITEMS`][lamnet_models.paper.ITEMS].
        folder: Output folder; see [`Reproduction.save`][lamnet_models.paper.Reproduction.save]. None to write
            nothing.
        **options: Arguments of the item's function.

    Raises:
        ValueError: If the item is unknown, or an option is out of range.
        LAMNetError: If models, weights, images or runs cannot be read.
    """
    result = find_item(item)(**options)
    if folder is not None:
        result.save(folder)
    return result


def find_item(item: str) -> Callable[..., Reproduction]:
    """Return an item's function.

    Raises:
        ValueError: If the item is unknown.
    """
    if item not in ITEMS:
        near = difflib.get_close_matches(item, ITEMS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"item must be one of {', '.join(ITEMS)}, got {item!r}{hint}")
    return ITEMS[item]


def item_options(item: str) -> tuple[str, ...]:
    """Return the names of an item's keyword arguments."""
    parameters = inspect.signature(find_item(item)).parameters.values()
    return tuple(parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY)
