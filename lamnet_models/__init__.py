"""LAMNet for image super-resolution: models, checkpoints, upscaling and evaluation.

Importing the package registers the models with timm.
"""

from .checkpoint import load_model, save_checkpoint
from .complexity import complexity
from .errors import CheckpointError, DatasetError, ImageError, LAMNetError, ModelError, TrainingError
from .lamnet import LAMNet
from .registry import (
    create_model,
    lamnet_large_x2,
    lamnet_large_x3,
    lamnet_large_x4,
    lamnet_x2,
    lamnet_x3,
    lamnet_x4,
    list_models,
    resolve_model,
)
from .upscaling import Upscaler, upscale

__all__ = [
    "CheckpointError",
    "DatasetError",
    "ImageError",
    "LAMNet",
    "LAMNetError",
    "ModelError",
    "TrainingError",
    "Upscaler",
    "complexity",
    "create_model",
    "lamnet_large_x2",
    "lamnet_large_x3",
    "lamnet_large_x4",
    "lamnet_x2",
    "lamnet_x3",
    "lamnet_x4",
    "list_models",
    "load_model",
    "resolve_model",
    "save_checkpoint",
    "upscale",
]
