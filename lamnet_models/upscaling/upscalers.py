"""Upscalers by target size, loaded on demand."""

from __future__ import annotations

from typing import Any

from ..factory import resolve_model
from ..names import VARIANTS, is_checkpoint_path, split_name
from .sizing import SCALES, TargetSize
from .upscaler import Upscaler


class UpscalerPool:
    """Upscalers for a target size, each loaded on first use.

    Args:
        model: As for [`Upscaler`][lamnet_models.Upscaler]. None: for each image, the model with the smallest sufficient
            scale of ``lamnet_x2``, ``lamnet_x3`` and ``lamnet_x4``.
        size: Target size; None: the model's own scale.
        **options: Other arguments of [`Upscaler`][lamnet_models.Upscaler].

    Attributes:
        size: Target size.
        default: The upscaler loaded by the constructor.

    Raises:
        ValueError: If an argument is out of range.
        LAMNetError: If the model does not exist.
    """

    def __init__(self, model: Any = None, size: TargetSize | None = None, **options: Any) -> None:
        size = size or TargetSize()
        if model is None and not size.is_network_size and size.scale is not None and size.scale > SCALES[-1]:
            raise ValueError(f"scale must be at most {SCALES[-1]}, got {size.scale:g}; upscale twice")
        self.size = size
        self._model, self._options = model, options
        self._loaded: dict[int | None, Upscaler] = {}
        # Load one upscaler now, so that invalid arguments are reported before any image is read.
        self.default = self.for_size(1000, 1000)

    def result_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the result for an image of this size.

        Raises:
            LAMNetError: If the result is not larger than the image, or exceeds the largest scale.
        """
        return self.size.result(height, width, self.default.scale, SCALES[-1] if self._model is None else None)

    def for_size(self, height: int, width: int) -> Upscaler:
        """Return the upscaler with the smallest sufficient scale for an image of this size."""
        scale = self.size.network_scale(height, width) if self._model is None or self.size.is_network_size else None
        if scale not in self._loaded:
            self._loaded[scale] = Upscaler(self._model, scale=scale, **self._options)
        return self._loaded[scale]


def model_scale(model: str | None) -> int:
    """Return the scale of a model from its name or its checkpoint metadata.

    Raises:
        LAMNetError: If the model does not exist.
    """
    if model is None:
        return SCALES[-1]
    if is_checkpoint_path(model) or ":" in model:
        return resolve_model(model).scale
    return VARIANTS[split_name(model)[0]]["scale"]
