"""Inputs and differentiable copies of networks for explanations."""

from __future__ import annotations

import copy
import os

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..datasets.samples import read_photo
from ..errors import ImageError, ModelError
from ..pictures import Box, best_box, local_contrast
from ..resize import imresize

MIN_SIDE = 16
"""Minimum width and height in pixels of an input."""


def prepare_input(
    photo: str | os.PathLike | np.ndarray,
    scale: int,
    side: int,
    at: tuple[int, int] | None = None,
    downscale: bool = True,
) -> np.ndarray:
    """Crop a photograph and downscale it to a network's input.

    Args:
        photo: An image file, the name of a sample photograph, or (H, W, 3) uint8.
        scale: The network's scale factor.
        side: Width and height in pixels of the input, limited by the photograph.
        at: Column and row of its center, in the photograph's pixels; by default the region with most fine structure.
        downscale: Whether to downscale the photograph by ``scale`` first, as in training.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: If the photograph cannot be read, or has less than 16×16 pixels after downscaling.
        ValueError: If ``at`` is outside.
    """
    image = photo if isinstance(photo, np.ndarray) else read_photo(photo)
    factor = scale if downscale else 1
    if min(image.shape[:2]) // factor < MIN_SIDE:
        minimum = MIN_SIDE * factor
        raise ImageError(f"image must have at least {minimum}×{minimum} pixels, got {image.shape[1]}×{image.shape[0]}")
    height, width = (length // factor * factor for length in image.shape[:2])
    image = image[:height, :width]
    size = min(side * factor, width), min(side * factor, height)
    if at is None:
        box = best_box(local_contrast(image), side * factor)
        left, top = box.left, box.top
    elif not (0 <= at[0] < width and 0 <= at[1] < height):
        raise ValueError(f"at must be inside the image of {width}×{height} pixels, got {at[0]},{at[1]}")
    else:
        left, top = at[0] - size[0] // 2, at[1] - size[1] // 2
    left = min(max(left, 0), width - size[0]) // factor * factor
    top = min(max(top, 0), height - size[1]) // factor * factor
    crop = np.ascontiguousarray(Box(left, top, *size).crop(image))
    return imresize(crop, 1 / scale) if downscale else crop


def to_tensor(pixels: np.ndarray, model: nn.Module) -> Tensor:
    """Convert pixels to a network's input, (1, C, H, W) in [0, 1]; gray for one channel.

    The tensor is float32, on the device of the network.

    Raises:
        ModelError: If the network has neither 1 nor 3 input channels.
    """
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    if model.in_chans == 1:
        image = image.mean(1, keepdim=True)
    elif model.in_chans != 3:
        raise ModelError(f"in_chans of the network must be 1 or 3, got {model.in_chans}")
    parameter = next(model.parameters(), image)
    return image.to(parameter.device, torch.float32)


class Differentiable(nn.Module):
    """Differentiable copy of any network.

    Models loaded by spandrel run without gradients, so the network inside is called, with inputs padded to the sizes it
    requires. The original network is unchanged.

    Args:
        model: A network on (B, C, H, W) with attributes ``scale`` and ``in_chans``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.scale, self.in_chans = model.scale, model.in_chans
        descriptor = getattr(model, "descriptor", None)  # of a spandrel model
        self.model = copy.deepcopy(model if descriptor is None else model.network)
        requirements = descriptor and descriptor.size_requirements
        self.multiple = requirements.multiple_of if requirements else 1
        self.minimum = requirements.minimum if requirements else 1
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the SR images, (B, C, r·H, r·W)."""
        height, width = x.shape[2:]
        pads = [max(-side % self.multiple, self.minimum - side) for side in (width, height)]
        if any(pads):
            x = F.pad(x, (0, pads[0], 0, pads[1]), "replicate")
        return self.model(x)[..., : self.scale * height, : self.scale * width]
