"""What LAMNet is worth, on one photograph: reduced exactly, enlarged again, compared with bicubic interpolation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from .datasets.samples import read_photo
from .errors import ImageError
from .evaluation import imresize, psnr, ssim
from .images import Picture
from .pictures import Panel, best_box, grid, local_contrast
from .registry import resolve_model
from .upscaling import upscale

MIN_SIDE = 64
"""Smallest width and height in pixels of a photograph that can be compared."""

_DETAIL = 160  # pixels a side of what is shown


@dataclass(frozen=True)
class Demo:
    """A comparison on one photograph.

    Attributes:
        psnr: PSNR in dB on the luma, by method: ``"bicubic"`` and the model's name.
        ssim: SSIM on the luma, by method.
        scale: Factor of reduction and enlargement.
        picture: The detail with the finest structure side by side: bicubic, the model, the original.
    """

    psnr: dict[str, float]
    ssim: dict[str, float]
    scale: int
    picture: Picture


def demo(photo: str | os.PathLike = "astronaut", model: nn.Module | str | os.PathLike = "lamnet_x4") -> Demo:
    """Reduces a photograph by the model's scale, enlarges it again and compares with the original.

    Args:
        photo: Name of a sample photograph (``"astronaut"``, ``"chelsea"``, ``"coffee"``, ``"motorcycle"``) or an image
            file, whose colours are taken as 8-bit RGB.
        model: A network with 3 channels, the name of a pretrained one, or a checkpoint file.

    Returns:
        PSNR and SSIM of bicubic interpolation and of the model, measured as papers do, and a picture.

    Raises:
        ImageError: If the photograph cannot be read or is too small.
        ModelError: If there is no model of that name, or no weights for it.
        CheckpointError: If the checkpoint cannot be read.
    """
    network = resolve_model(model)
    scale = network.scale
    truth = read_photo(photo)
    height, width = (side // scale * scale for side in truth.shape[:2])
    if min(height, width) < MIN_SIDE:
        raise ImageError(
            f"{photo} has {truth.shape[1]}×{truth.shape[0]} pixels, but a comparison needs {MIN_SIDE}×{MIN_SIDE}"
        )
    truth = truth[:height, :width]
    reduced = imresize(truth, 1 / scale)
    name = model if isinstance(model, str) else type(network).__name__
    enlarged = {"bicubic": imresize(reduced, scale), Path(name).name: upscale(reduced, network)}
    scores = {method: psnr(image, truth, border=scale) for method, image in enlarged.items()}
    box = best_box(local_contrast(truth), _DETAIL)
    panels = [Panel(box.crop(image), (f"{method}  {scores[method]:.2f} dB",)) for method, image in enlarged.items()]
    return Demo(
        psnr=scores,
        ssim={method: ssim(image, truth, border=scale) for method, image in enlarged.items()},
        scale=scale,
        picture=grid([[*panels, Panel(box.crop(truth), ("original",))]], side=2 * _DETAIL),
    )
