"""Training: recipes, data, the loop, and what becomes of a run."""

from .events import Report, Validation, Watcher
from .loop import Trainer, TrainingResult, train
from .recipe import Recipe, list_recipes, load_recipe

__all__ = [
    "Recipe",
    "Report",
    "Trainer",
    "TrainingResult",
    "Validation",
    "Watcher",
    "list_recipes",
    "load_recipe",
    "train",
]
