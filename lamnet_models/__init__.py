"""LAMNet for image super-resolution: models, checkpoints, upscaling and evaluation.

Importing the package registers the models with timm. Names and subpackages are imported on first access.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._timm_hook import install_timm_hook

if TYPE_CHECKING:
    from .checkpoint import load_model, save_checkpoint
    from .cost import complexity
    from .errors import (
        CheckpointError,
        DatasetError,
        ExportError,
        HubError,
        ImageError,
        LAMNetError,
        ModelError,
        TrainingError,
    )
    from .evaluation import compare, evaluate
    from .exporting import export
    from .factory import create_model, resolve_model
    from .hub import push
    from .inference import Upscaler, upscale
    from .lamnet import (
        LAMNet,
        lamnet_large_x2,
        lamnet_large_x3,
        lamnet_large_x4,
        lamnet_x2,
        lamnet_x3,
        lamnet_x4,
    )
    from .names import list_models
    from .training import train

# No submodule may have the name of a public function: importing it would replace the function.
_MODULES = {
    "CheckpointError": "errors",
    "DatasetError": "errors",
    "ExportError": "errors",
    "HubError": "errors",
    "ImageError": "errors",
    "LAMNet": "lamnet",
    "LAMNetError": "errors",
    "ModelError": "errors",
    "TrainingError": "errors",
    "Upscaler": "inference",
    "compare": "evaluation",
    "complexity": "cost",
    "create_model": "factory",
    "evaluate": "evaluation",
    "export": "exporting",
    "lamnet_large_x2": "lamnet",
    "lamnet_large_x3": "lamnet",
    "lamnet_large_x4": "lamnet",
    "lamnet_x2": "lamnet",
    "lamnet_x3": "lamnet",
    "lamnet_x4": "lamnet",
    "list_models": "names",
    "load_model": "checkpoint",
    "push": "hub",
    "resolve_model": "factory",
    "save_checkpoint": "checkpoint",
    "train": "training",
    "upscale": "inference",
}

_SUBPACKAGES = (
    "app",
    "benchmarking",
    "data",
    "evaluation",
    "exporting",
    "hub",
    "image_io",
    "inference",
    "integrations",
    "paper",
    "training",
)

__all__ = [
    "CheckpointError",
    "DatasetError",
    "ExportError",
    "HubError",
    "ImageError",
    "LAMNet",
    "LAMNetError",
    "ModelError",
    "TrainingError",
    "Upscaler",
    "compare",
    "complexity",
    "create_model",
    "evaluate",
    "export",
    "lamnet_large_x2",
    "lamnet_large_x3",
    "lamnet_large_x4",
    "lamnet_x2",
    "lamnet_x3",
    "lamnet_x4",
    "list_models",
    "load_model",
    "push",
    "resolve_model",
    "save_checkpoint",
    "train",
    "upscale",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        globals()[name] = value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
        return value
    if name in _SUBPACKAGES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBPACKAGES})


install_timm_hook()
