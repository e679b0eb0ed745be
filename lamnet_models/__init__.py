"""LAMNet for image super-resolution: models, checkpoints, upscaling and evaluation.

Importing the package registers the models with timm, at once or when timm is imported.
"""

from importlib import import_module
from typing import Any

from .checkpoint import load_model, save_checkpoint
from .complexity import complexity
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
from .factory import create_model, list_models, resolve_model
from .lamnet import (
    LAMNet,
    lamnet_large_x2,
    lamnet_large_x3,
    lamnet_large_x4,
    lamnet_x2,
    lamnet_x3,
    lamnet_x4,
)
from .upscaling import Upscaler, upscale

_LAZY = {
    "compare": ".evaluation",
    "evaluate": ".evaluation",
    "export": ".exporting",
    "push": ".hub",
    "train": ".training",
}


def __getattr__(name: str) -> Any:
    # Imported on first access: scipy and accelerate take about a second each.
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
