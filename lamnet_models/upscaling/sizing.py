"""How large a result is to be, and how it gets there from what a network makes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import prod
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import LAMNetError
from ..images import Picture
from ..images.pillow import from_pillow, to_pillow
from ..resize import imresize
from .memory import host_memory
from .scratch import empty

SCALES = (2, 3, 4)
"""Factors of the models that are there."""

ImageT = TypeVar("ImageT", np.ndarray, Image.Image, Tensor, Picture)


@dataclass(frozen=True)
class TargetSize:
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
            raise ValueError(f"scale is {self.scale}, but a width or height is given too: give one of them")
        if self.scale is not None and not (isinstance(self.scale, int | float) and 1 <= self.scale < math.inf):
            raise ValueError(f"scale is {self.scale!r}, but it must be a number of at least 1")
        for name in ("width", "height"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} is {value!r}, but it must be an integer of at least 1")

    @property
    def is_network_size(self) -> bool:
        """Whether a network's own factor is all that is asked for."""
        return self.width is None and self.height is None and (self.scale is None or self.scale == int(self.scale))

    def suffix(self, scale: int) -> str:
        """Returns what names of results get by default; ``scale`` is the factor where nothing is asked for."""
        if self.width is not None and self.height is not None:
            return f"_{self.width}x{self.height}"
        if self.width is not None:
            return f"_w{self.width}"
        return f"_h{self.height}" if self.height is not None else f"_x{self.scale or scale:g}"

    def network_scale(self, height: int, width: int) -> int | None:
        """Returns the factor of the network to take for a picture: the next larger one; None for the default."""
        if self.is_network_size:
            return None if self.scale is None else int(self.scale)
        result = self._of(height, width, SCALES[-1])
        factor = max(result[0] / height, result[1] / width)
        return next((scale for scale in SCALES if scale >= factor), SCALES[-1])

    def result(self, height: int, width: int, scale: int, most: int | None = None) -> tuple[int, int]:
        """Returns height and width of the result for a picture, which keeps its shape.

        Args:
            height: Rows of the picture.
            width: Columns of the picture.
            scale: Factor of the network.
            most: Most times that a picture can be enlarged; None is ``scale``.

        Raises:
            LAMNetError: If that is no enlargement, or a larger one.
        """
        if self.is_network_size:
            return scale * height, scale * width
        result, most = self._of(height, width, scale), most or scale
        shape, wanted = f"{width}x{height} pixels", f"{result[1]}x{result[0]}"
        if result[0] * result[1] <= height * width:
            raise LAMNetError(f"its {shape} are no fewer than the {wanted} asked for: nothing to enlarge")
        if result[0] > most * height or result[1] > most * width:
            raise LAMNetError(f"from {shape} to {wanted} is more than {most} times; go there in two steps")
        return result

    def _of(self, height: int, width: int, scale: int) -> tuple[int, int]:
        if self.width is None and self.height is None:
            factor = self.scale or scale
            return _rounded(height * factor), _rounded(width * factor)
        across = math.inf if self.width is None else self.width / width
        down = math.inf if self.height is None else self.height / height
        if across <= down:
            return _rounded(height * across), self.width
        return self.height, _rounded(width * down)


def image_size(image: ImageT) -> tuple[int, int]:
    """Returns height and width of an image of any kind that ``Upscaler`` takes; (1, 1) for anything else."""
    if isinstance(image, Picture):
        return image.height, image.width
    if isinstance(image, Image.Image):
        return image.height, image.width
    if isinstance(image, Tensor | np.ndarray) and image.ndim >= 2:
        height, width = image.shape[-2:] if isinstance(image, Tensor) else image.shape[:2]
        return height, width
    return 1, 1


def resize_image(image: ImageT, height: int, width: int, max_memory: int | None = None) -> ImageT:
    """Returns an image resized by MATLAB's bicubic interpolation, of its kind; as it is if it has that size.

    Alpha and colours are resized apart: ``Upscaler`` has given transparent pixels the colours of their neighbours, so
    that nothing dark is mixed in.

    Args:
        image: An image of any kind that ``Upscaler`` takes.
        height: Rows of the result.
        width: Columns of the result.
        max_memory: Most bytes of memory that the process may have; beyond it a picture's pixels go to a temporary file.
    """
    if image_size(image) == (height, width):
        return image
    if isinstance(image, Picture):
        shape, dtype = (height, width, image.channels), image.pixels.dtype
        in_file = prod(shape) * dtype.itemsize > host_memory(max_memory)
        room = empty(shape, torch.from_numpy(np.empty(0, dtype)).dtype, torch.device("cpu"), in_file).numpy()
        return image.with_pixels(imresize(image.pixels, size=(height, width), pipeline="double", out=room))
    if isinstance(image, Image.Image):
        result = to_pillow(resize_image(from_pillow(image), height, width))
        result.info.update(image.info)
        return result
    if isinstance(image, Tensor):
        return imresize(image, size=(height, width)).clamp(0, 1)
    result = imresize(image, size=(height, width), pipeline="double")
    return result if image.dtype.kind == "u" else result.clip(0, 1)


def _rounded(length: float) -> int:
    return max(1, math.floor(length + 0.5))
