"""Explanation of networks: attribution maps and effective receptive fields."""

from .attribution import (
    Attribution,
    Differentiable,
    ReceptiveField,
    attribution,
    gini,
    prepare_input,
    receptive_field,
    to_tensor,
)
from .explanation import Explanation, NetworkExplanation, explain

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
