"""Explanation of networks: attribution maps and effective receptive fields."""

from .attribution import Attribution, attribution, gini
from .explain import Explanation, NetworkExplanation, explain
from .receptive_field import ReceptiveField, receptive_field
from .view import Differentiable, prepare_input, to_tensor

__all__ = [
    "Attribution",
    "Differentiable",
    "Explanation",
    "NetworkExplanation",
    "ReceptiveField",
    "attribution",
    "explain",
    "gini",
    "prepare_input",
    "receptive_field",
    "to_tensor",
]
