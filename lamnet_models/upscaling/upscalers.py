"""The networks that a size asks for."""

from __future__ import annotations

from typing import Any

from ..pretrained import is_checkpoint_path
from ..registry import check_name, resolve_model
from .sizing import SCALES, TargetSize
from .upscaler import Upscaler


class UpscalerPool:
    """The networks that sizes ask for, each loaded when it is first needed.

    Args:
        model: As for [`Upscaler`][lamnet_models.Upscaler]; None is the next larger of ``lamnet_x2``, ``_x3`` and
            ``_x4`` for each picture.
        size: How large results are to be; None is the model's own factor.
        **options: Other arguments of [`Upscaler`][lamnet_models.Upscaler].

    Attributes:
        size: How large results are to be.
        first: The network that is loaded already.

    Raises:
        ValueError: If an argument is out of its range.
        LAMNetError: If there is no such model.
    """

    def __init__(self, model: Any = None, size: TargetSize | None = None, **options: Any) -> None:
        size = size or TargetSize()
        if model is None and not size.is_network_size and size.scale is not None and size.scale > SCALES[-1]:
            raise ValueError(f"scale is {size.scale:g}, but {SCALES[-1]} is the most of the models; go in two steps")
        self.size = size
        self._model, self._options = model, options
        self._loaded: dict[int | None, Upscaler] = {}
        # One at once: what is wrong with the arguments is wrong before any picture is read.
        self.default = self.for_size(1000, 1000)

    def result_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns height and width of the result for a picture of a size.

        Raises:
            LAMNetError: If that is no enlargement, or one beyond what the networks do.
        """
        return self.size.result(height, width, self.default.scale, SCALES[-1] if self._model is None else None)

    def for_size(self, height: int, width: int) -> Upscaler:
        """Returns the network that enlarges a picture of a size to what is asked for, or further."""
        step = self.size.network_scale(height, width) if self._model is None or self.size.is_network_size else None
        if step not in self._loaded:
            self._loaded[step] = Upscaler(self._model, scale=step, **self._options)
        return self._loaded[step]


def model_scale(model: str | None) -> int:
    """Returns the factor of a model: by its name, or by what stands in its file.

    Raises:
        LAMNetError: If there is no such model.
    """
    if model is None:
        return SCALES[-1]
    if is_checkpoint_path(model) or ":" in model:
        return resolve_model(model).scale
    check_name(model)
    return int(model.partition(".")[0].rpartition("x")[2])
