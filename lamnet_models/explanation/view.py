"""What networks are looked at with: a part of a photograph, and networks that pass gradients."""

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
"""Smallest width and height in pixels of what a network is given here."""


def view(
    photo: str | os.PathLike | np.ndarray,
    scale: int,
    side: int,
    at: tuple[int, int] | None = None,
    reduce: bool = True,
) -> np.ndarray:
    """Returns a part of a photograph as a network is given it.

    Args:
        photo: An image file, the name of a sample photograph, or (H, W, 3) uint8.
        scale: The network's factor of enlargement.
        side: Width and height in pixels of the part, or less where the photograph is smaller.
        at: Column and row of its centre, in the photograph's pixels; by default where there is most fine structure.
        reduce: Whether to reduce the photograph by ``scale`` first, as networks are trained; otherwise it is taken as
            it is.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: If the photograph cannot be read, or has less than 16×16 pixels, once reduced.
        ValueError: If ``at`` lies outside.
    """
    image = photo if isinstance(photo, np.ndarray) else read_photo(photo)
    step = scale if reduce else 1
    if min(image.shape[:2]) // step < MIN_SIDE:
        needed = f"{MIN_SIDE * step}×{MIN_SIDE * step}"
        raise ImageError(f"the image has {image.shape[1]}×{image.shape[0]} pixels, but this needs {needed}")
    height, width = (length // step * step for length in image.shape[:2])
    image = image[:height, :width]
    part = min(side * step, width), min(side * step, height)
    if at is None:
        box = best_box(local_contrast(image), side * step)
        left, top = box.left, box.top
    elif not (0 <= at[0] < width and 0 <= at[1] < height):
        raise ValueError(f"at is {at[0]},{at[1]}, but the image has {width}×{height} pixels")
    else:
        left, top = at[0] - part[0] // 2, at[1] - part[1] // 2
    left = min(max(left, 0), width - part[0]) // step * step
    top = min(max(top, 0), height - part[1]) // step * step
    cut = np.ascontiguousarray(Box(left, top, *part).crop(image))
    return imresize(cut, 1 / scale) if reduce else cut


def to_tensor(pixels: np.ndarray, model: nn.Module) -> Tensor:
    """Returns pixels as a network takes them: (1, C, H, W) in [0, 1], on its device; grey for one channel.

    Raises:
        ModelError: If the network takes neither grey nor RGB.
    """
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    if model.in_chans == 1:
        image = image.mean(1, keepdim=True)
    elif model.in_chans != 3:
        raise ModelError(f"the network takes {model.in_chans} channels, but photographs have 3")
    parameter = next(model.parameters(), image)
    return image.to(parameter.device, torch.float32)


class Differentiable(nn.Module):
    """A network through which gradients pass, whoever's it is.

    What spandrel loads runs without gradients; its network itself does pass them, on images of the sides that it needs.
    The network is copied, and left as it is.

    Args:
        model: A network on (B, C, H, W) with attributes ``scale`` and ``in_chans``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.scale, self.in_chans = model.scale, model.in_chans
        descriptor = getattr(model, "descriptor", None)  # of a peer
        self.model = copy.deepcopy(model if descriptor is None else model.network)
        needs = descriptor and descriptor.size_requirements
        self.multiple = needs.multiple_of if needs else 1
        self.minimum = needs.minimum if needs else 1
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the enlarged images, (B, C, r·H, r·W)."""
        height, width = x.shape[2:]
        pads = [max(-side % self.multiple, self.minimum - side) for side in (width, height)]
        if any(pads):
            x = F.pad(x, (0, pads[0], 0, pads[1]), "replicate")
        return self.model(x)[..., : self.scale * height, : self.scale * width]
