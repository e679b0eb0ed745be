"""Training: recipes, data, training loop, releases.

Names are imported on first access: recipes need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .callbacks import Report, TrainingCallback, Validation
    from .recipe import Recipe, list_recipes, load_recipe
    from .trainer import Trainer, TrainingResult, train

_MODULES = {
    "Recipe": "recipe",
    "Report": "callbacks",
    "Trainer": "trainer",
    "TrainingCallback": "callbacks",
    "TrainingResult": "trainer",
    "Validation": "callbacks",
    "list_recipes": "recipe",
    "load_recipe": "recipe",
    "train": "trainer",
}

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


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        globals()[name] = value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
