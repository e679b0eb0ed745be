"""The paper's tables and figures, made again, each with our value beside the paper's."""

from .items import ITEMS, item_options, reproduce
from .result import Reproduction, Score, Table

__all__ = ["ITEMS", "Reproduction", "Score", "Table", "item_options", "reproduce"]
