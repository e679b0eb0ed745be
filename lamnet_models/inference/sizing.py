"""Target sizes, and resizing of the network's result to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import LAMNetError
from ..image_io import Picture
from ..image_io.picture import from_pillow, to_pillow
from ..resize import imresize
from .pixels import empty
from .planner import host_memory

SCALES = (2, 3, 4)
"""Upscaling factors of the published models."""

ImageT = TypeVar("ImageT")


@dataclass(frozen=True)
class TargetSize:
    """Target size of a result: a factor, a width, a height, or a box to fit into.

    Attributes:
        scale: Upscaling factor, at least 1.
        width: Width in pixels.
        height: Height in pixels.

    Raises:
        ValueError: If a value is out of range, or ``scale`` is combined with ``width`` or ``height``.
    """

    scale: float | None = None
    width: int | None = None
    height: int | None = None

    def __post_init__(self) -> None:
        if self.scale is not None and (self.width is not None or self.height is not None):
            raise ValueError(f"scale must not be combined with width or height, got scale {self.scale}")
        if self.scale is not None and not (isinstance(self.scale, int | float) and 1 <= self.scale < math.inf):
            raise ValueError(f"scale must be a finite number of at least 1, got {self.scale!r}")
        for name in ("width", "height"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")

    @property
    def is_network_size(self) -> bool:
        """Whether the network's own output size is the target, so that no resizing is needed."""
        return self.width is None and self.height is None and (self.scale is None or self.scale == int(self.scale))

    def suffix(self, scale: int) -> str:
        """Return the default suffix of output names; ``scale`` applies if no size is specified."""
        if self.width is not None and self.height is not None:
            return f"_{self.width}x{self.height}"
        if self.width is not None:
            return f"_w{self.width}"
        return f"_h{self.height}" if self.height is not None else f"_x{self.scale or scale:g}"

    def network_scale(self, height: int, width: int, scales: Sequence[int] = SCALES) -> int | None:
        """Return the smallest sufficient one of the networks' scales for an image; None: the default."""
        if self.is_network_size:
            return None if self.scale is None else int(self.scale)
        result = self._target(height, width, scales[-1])
        factor = max(result[0] / height, result[1] / width)
        return next((scale for scale in scales if scale >= factor), scales[-1])

    def result(self, height: int, width: int, scale: int) -> tuple[int, int]:
        """Return height and width of the result for an image; the aspect ratio is kept.

        Args:
            height: Rows of the image.
            width: Columns of the image.
            scale: Largest scale of the network.

        Raises:
            LAMNetError: If the result is not larger than the image, or exceeds ``scale``.
        """
        if self.is_network_size:
            return scale * height, scale * width
        result = self._target(height, width, scale)
        sizes = f"{width}x{height} pixels to {result[1]}x{result[0]}"
        if result[0] * result[1] <= height * width:
            raise LAMNetError(f"cannot upscale {sizes}: the target size must be larger than the image")
        if result[0] > scale * height or result[1] > scale * width:
            raise LAMNetError(f"cannot upscale {sizes}: the factor must be at most {scale}; upscale twice")
        return result

    def _target(self, height: int, width: int, scale: int) -> tuple[int, int]:
        if self.width is None and self.height is None:
            factor = self.scale or scale
            return _round(height * factor), _round(width * factor)
        width_ratio = math.inf if self.width is None else self.width / width
        height_ratio = math.inf if self.height is None else self.height / height
        if width_ratio <= height_ratio:
            return _round(height * width_ratio), self.width
        return self.height, _round(width * height_ratio)


def image_size(image: ImageT) -> tuple[int, int]:
    """Return height and width of an image.

    Raises:
        ValueError: If the image is of a type or shape that ``Upscaler`` rejects.
    """
    layouts = {2: "(H, W)", 3: "(H, W, C)"}
    if isinstance(image, Tensor):
        shape, layouts = tuple(image.shape), {3: "(C, H, W)", 4: "(B, C, H, W)"}
    elif isinstance(image, Image.Image):
        shape = image.height, image.width
    elif isinstance(image, np.ndarray | Picture):
        shape = image.pixels.shape if isinstance(image, Picture) else image.shape
    else:
        raise ValueError(f"image must be an array, Pillow image, tensor or Picture, got {type(image).__name__}")
    if len(shape) not in layouts or 0 in shape:
        raise ValueError(f"image must have shape {' or '.join(layouts.values())}, none of them 0, got {shape}")
    return shape[-2:] if isinstance(image, Tensor) else shape[:2]


def resize_image(image: ImageT, height: int, width: int, max_memory: int | None = None) -> ImageT:
    """Resize an image by MATLAB's bicubic interpolation; the type is kept.

    Colors are resized without alpha weighting: ``Upscaler`` has filled transparent pixels with the colors of their
    neighbors, so no dark fringes appear. An image that has the target size is returned unchanged.

    Args:
        image: An image of any type that ``Upscaler`` accepts.
        height: Rows of the result.
        width: Columns of the result.
        max_memory: Limit of the process's memory in bytes; beyond it, the pixels of a ``Picture`` are stored in a
            temporary file.
    """
    if image_size(image) == (height, width):
        return image
    if isinstance(image, Picture):
        shape, dtype = (height, width, image.channels), image.pixels.dtype
        in_file = prod(shape) * dtype.itemsize > host_memory(max_memory)
        out = empty(shape, torch.from_numpy(np.empty(0, dtype)).dtype, torch.device("cpu"), in_file).numpy()
        return image.with_pixels(imresize(image.pixels, size=(height, width), pipeline="double", out=out))
    if isinstance(image, Image.Image):
        result = to_pillow(resize_image(from_pillow(image), height, width))
        result.info.update(image.info)
        return result
    if isinstance(image, Tensor):
        return imresize(image, size=(height, width)).clamp(0, 1)
    result = imresize(image, size=(height, width), pipeline="double")
    return result if image.dtype.kind == "u" else result.clip(0, 1)


def _round(length: float) -> int:
    return max(1, math.floor(length + 0.5))
