"""Training: recipes, data, the loop, and what becomes of a run."""

from .events import Report, Validation, Watcher
from .loop import Trainer, TrainingResult
from .recipe import Recipe, list_recipes, load_recipe
from .run import train

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
