"""Reproduction of the paper: layers of table 4, tables and figures, attribution.

Names are imported on first access: the layers of table 4 need neither training nor datasets.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .explanation import (
        Attribution,
        Differentiable,
        Explanation,
        NetworkExplanation,
        ReceptiveField,
        attribution,
        explain,
        gini,
        prepare_input,
        receptive_field,
        to_tensor,
    )
    from .items import ITEMS, item_options, reproduce
    from .reproduction import Reproduction, Score, Table

_MODULES = {
    "ITEMS": "items",
    "Attribution": "explanation",
    "Differentiable": "explanation",
    "Explanation": "explanation",
    "NetworkExplanation": "explanation",
    "ReceptiveField": "explanation",
    "Reproduction": "reproduction",
    "Score": "reproduction",
    "Table": "reproduction",
    "attribution": "explanation",
    "explain": "explanation",
    "gini": "explanation",
    "item_options": "items",
    "prepare_input": "explanation",
    "receptive_field": "explanation",
    "reproduce": "items",
    "to_tensor": "explanation",
}

__all__ = [
    "ITEMS",
    "Attribution",
    "Differentiable",
    "Explanation",
    "NetworkExplanation",
    "ReceptiveField",
    "Reproduction",
    "Score",
    "Table",
    "attribution",
    "explain",
    "gini",
    "item_options",
    "prepare_input",
    "receptive_field",
    "reproduce",
    "to_tensor",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        globals()[name] = value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
