"""Reproduction of the paper's tables and figures, with our values next to the paper's."""

from .items import ITEMS, item_options, reproduce
from .result import Reproduction, Score, Table

__all__ = ["ITEMS", "Reproduction", "Score", "Table", "item_options", "reproduce"]
