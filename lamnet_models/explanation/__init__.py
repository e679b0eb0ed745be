"""Why a network makes of an image what it makes: what its output depends on."""

from .attribution import Attribution, attribution, gini
from .explain import Explanation, NetworkExplanation, explain
from .receptive_field import ReceptiveField, receptive_field
from .view import Differentiable, to_tensor, view

__all__ = [
    "Attribution",
    "Differentiable",
    "Explanation",
    "NetworkExplanation",
    "ReceptiveField",
    "attribution",
    "explain",
    "gini",
    "receptive_field",
    "to_tensor",
    "view",
]
