"""How large a result is to be, and which network that takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import LAMNetError
from ..pretrained import is_checkpoint_path
from ..registry import check_name, resolve_model
from ..resize import imresize
from .upscaler import Upscaler

SCALES = (2, 3, 4)
"""Factors of the models that are there."""


@dataclass(frozen=True)
class Size:
    """How large results are to be: by a factor, or to a width or height, or to fit into both.

    Attributes:
        scale: Factor of at least 1.
        width: Width in pixels.
        height: Height in pixels.

    Raises:
        ValueError: If one is out of its range, or a scale comes with another.
    """

    scale: float | None = None
    width: int | None = None
    height: int | None = None

    def __post_init__(self) -> None:
        if self.scale is not None and (self.width is not None or self.height is not None):
            raise ValueError(f"scale is {self.scale:g}, but a width or height is given too: give one of them")
        if self.scale is not None and not 1 <= self.scale < math.inf:
            raise ValueError(f"scale is {self.scale:g}, but it must be at least 1")
        for name in ("width", "height"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} is {value!r}, but it must be an integer of at least 1")

    @property
    def is_plain(self) -> bool:
        """Whether a network's own factor is all that is asked for."""
        return self.width is None and self.height is None and (self.scale is None or self.scale == int(self.scale))

    def suffix(self, scale: int) -> str:
        """Returns what names of results get by default; ``scale`` is the factor where nothing is asked for."""
        if self.width is not None and self.height is not None:
            return f"_{self.width}x{self.height}"
        if self.width is not None:
            return f"_w{self.width}"
        return f"_h{self.height}" if self.height is not None else f"_x{self.scale or scale:g}"

    def of(self, height: int, width: int, scale: int) -> tuple[int, int]:
        """Returns height and width of the result for a picture, which keeps its shape.

        Args:
            height: Rows of the picture.
            width: Columns of the picture.
            scale: The factor where nothing is asked for.
        """
        if self.width is None and self.height is None:
            factor = self.scale or scale
            return _rounded(height * factor), _rounded(width * factor)
        across = math.inf if self.width is None else self.width / width
        down = math.inf if self.height is None else self.height / height
        if across <= down:
            return _rounded(height * across), self.width
        return self.height, _rounded(width * down)


class Upscalers:
    """The networks that sizes ask for, each loaded when it is first needed.

    Args:
        model: As for [`Upscaler`][lamnet_models.Upscaler]; None is the next larger of ``lamnet_x2``, ``_x3`` and
            ``_x4`` for each picture.
        size: How large results are to be.
        **options: Other arguments of [`Upscaler`][lamnet_models.Upscaler].
    """

    def __init__(self, model: Any = None, size: Size = Size(), **options: Any) -> None:
        self.size = size
        self._model, self._options = model, options
        self._loaded: dict[int | None, Upscaler] = {}
        if model is None and not size.is_plain and size.scale is not None and size.scale > SCALES[-1]:
            raise ValueError(
                f"scale is {size.scale:g}, but the models enlarge {SCALES[-1]} times at most: go in two steps"
            )
        # The first at once: what is wrong with the arguments is wrong before any picture is read.
        step = None if size.scale is None else int(size.scale) if size.is_plain else _step(size.scale)
        self.first = self._load(step)

    def result_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns height and width of the result for a picture of a size.

        Raises:
            LAMNetError: If that is no enlargement, or one beyond what the networks do.
        """
        result = self.size.of(height, width, self.first.scale)
        if self.size.is_plain:
            return result
        most = SCALES[-1] if self._model is None else self.first.scale
        shape, wanted = f"{width}x{height} pixels", f"{result[1]}x{result[0]}"
        if result[0] * result[1] <= height * width:
            raise LAMNetError(f"its {shape} are no fewer than the {wanted} asked for: nothing to enlarge")
        if result[0] > most * height or result[1] > most * width:
            raise LAMNetError(f"from {shape} to {wanted} is more than {most} times; go there in two steps")
        return result

    def for_picture(self, height: int, width: int) -> Upscaler:
        """Returns the network that enlarges a picture of a size to what is asked for, or further."""
        if self._model is not None or self.size.is_plain:
            return self.first
        result = self.result_size(height, width)
        return self._load(_step(max(result[0] / height, result[1] / width)))

    def _load(self, step: int | None) -> Upscaler:
        """Returns the network of a factor; None is whatever the model's is."""
        if self._model is not None and not self.size.is_plain:
            step = None
        if step not in self._loaded:
            self._loaded[step] = Upscaler(self._model, scale=step, **self._options)
        return self._loaded[step]


def reduced(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns pixels (H, W, C) reduced by exact bicubic interpolation, or as they are if they have that size."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return imresize(pixels, size=(height, width), pipeline="double")


def scale_of(model: str | None) -> int:
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


def _step(factor: float) -> int:
    """Returns the next larger factor of a model."""
    return next(scale for scale in SCALES if scale >= min(factor, SCALES[-1]))


def _rounded(length: float) -> int:
    return max(1, math.floor(length + 0.5))
