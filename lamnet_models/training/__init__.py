"""Training: recipes, data, training loop, releases."""

from .events import Report, TrainingCallback, Validation
from .loop import Trainer, TrainingResult
from .recipe import Recipe, list_recipes, load_recipe
from .run import train

__all__ = [
    "Recipe",
    "Report",
    "Trainer",
    "TrainingCallback",
    "TrainingResult",
    "Validation",
    "list_recipes",
    "load_recipe",
    "train",
]
