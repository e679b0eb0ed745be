"""Quality of a model on one photograph, compared with bicubic interpolation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from .data.catalog import read_photo
from .errors import ImageError
from .evaluation import imresize, psnr, ssim
from .factory import resolve_model
from .image_io import Picture
from .image_io.grids import Panel, best_box, grid, local_contrast
from .inference import upscale

MIN_SIDE = 64
"""Minimum width and height of the photograph in pixels."""

_DETAIL = 160  # side of the detail shown, in pixels


@dataclass(frozen=True)
class Demo:
    """Comparison on one photograph.

    Attributes:
        psnr: PSNR on luma in dB, by method: ``"bicubic"`` and the model's name.
        ssim: SSIM on luma, by method.
        scale: Scale factor.
        picture: Detail with the highest local contrast: bicubic, model and original.
    """

    psnr: dict[str, float]
    ssim: dict[str, float]
    scale: int
    picture: Picture


def demo(photo: str | os.PathLike = "astronaut", model: nn.Module | str | os.PathLike = "lamnet_x4") -> Demo:
    """Downscale a photograph by the model's scale, upscale it and compare it with the original.

    Args:
        photo: Name of a sample photograph (``"astronaut"``, ``"chelsea"``, ``"coffee"``, ``"motorcycle"``) or an image
            file, read as 8-bit RGB.
        model: Network with 3 channels, name of a pretrained model, or checkpoint file.

    Returns:
        PSNR and SSIM of bicubic interpolation and of the model, by the protocol of papers, and a picture.

    Raises:
        ImageError: If the photograph cannot be read or is too small.
        ModelError: If the model's name is unknown or it has no weights.
        CheckpointError: If the checkpoint cannot be read.
    """
    network = resolve_model(model)
    scale = network.scale
    hr = read_photo(photo)
    height, width = (side // scale * scale for side in hr.shape[:2])
    if min(height, width) < MIN_SIDE:
        raise ImageError(f"{photo} must have at least {MIN_SIDE}×{MIN_SIDE} pixels, got {hr.shape[1]}×{hr.shape[0]}")
    hr = hr[:height, :width]
    lr = imresize(hr, 1 / scale)
    name = model if isinstance(model, str) else type(network).__name__
    sr = {"bicubic": imresize(lr, scale), Path(name).name: upscale(lr, network)}
    scores = {method: psnr(image, hr, border=scale) for method, image in sr.items()}
    box = best_box(local_contrast(hr), _DETAIL)
    panels = [Panel(box.crop(image), (f"{method}  {scores[method]:.2f} dB",)) for method, image in sr.items()]
    return Demo(
        psnr=scores,
        ssim={method: ssim(image, hr, border=scale) for method, image in sr.items()},
        scale=scale,
        picture=grid([[*panels, Panel(box.crop(hr), ("original",))]], side=2 * _DETAIL),
    )
