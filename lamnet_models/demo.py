"""What LAMNet is worth, on one photograph: reduced exactly, enlarged again, compared with bicubic interpolation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from .errors import ImageError
from .evaluation import imresize, psnr, ssim
from .images import Picture, read_image
from .registry import resolve_model
from .upscaling import upscale

SAMPLES = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "motorcycle": "motorcycle_left.png",
}
"""The sample photographs, which scikit-image brings along."""

MIN_SIDE = 64
"""Smallest width and height in pixels of a photograph that can be compared."""


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
    truth = _read_photo(photo)
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
    labels = [f"{method}  {scores[method]:.2f} dB" for method in enlarged] + ["original"]
    return Demo(
        psnr=scores,
        ssim={method: ssim(image, truth, border=scale) for method, image in enlarged.items()},
        scale=scale,
        picture=_side_by_side([*enlarged.values(), truth], labels, *_busiest_detail(truth)),
    )


def _read_photo(photo: str | os.PathLike) -> np.ndarray:
    if photo in SAMPLES:
        photo = Path(skimage.data.__file__).parent / SAMPLES[photo]
    elif not Path(photo).exists():
        raise ImageError(f"{photo}: no such file, nor one of the samples {', '.join(SAMPLES)}")
    pixels = read_image(photo).pixels
    if pixels.dtype == np.uint16:
        pixels = np.round(pixels / 257).astype(np.uint8)
    colour = pixels[..., : pixels.shape[2] - (pixels.shape[2] + 1) % 2]  # without alpha, which is in 2 or 4 channels
    return np.ascontiguousarray(np.broadcast_to(colour, (*pixels.shape[:2], 3)))


def _busiest_detail(image: np.ndarray, side: int = 160, step: int = 16) -> tuple[int, int, int, int]:
    """Returns top, left, height and width of the detail with the most fine structure: where methods differ."""
    luma = image.astype(np.float64).mean(axis=2)
    edges = np.abs(np.diff(luma, axis=0))[:, :-1] + np.abs(np.diff(luma, axis=1))[:-1]
    height, width = min(side, luma.shape[0]), min(side, luma.shape[1])
    corners = [
        (top, left)
        for top in range(0, luma.shape[0] - height + 1, step)
        for left in range(0, luma.shape[1] - width + 1, step)
    ]
    top, left = max(
        corners, key=lambda corner: edges[corner[0] : corner[0] + height, corner[1] : corner[1] + width].sum()
    )
    return top, left, height, width


def _side_by_side(
    images: list[np.ndarray], labels: list[str], top: int, left: int, height: int, width: int, zoom: int = 2
) -> Picture:
    gap, caption = 8, 28
    panel_width, panel_height = width * zoom, height * zoom
    size = (len(images) * (panel_width + gap) - gap, panel_height + caption)
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=16)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        x = index * (panel_width + gap)
        detail = Image.fromarray(image[top : top + height, left : left + width])
        picture.paste(detail.resize((panel_width, panel_height), Image.Resampling.NEAREST), (x, 0))
        draw.text((x + 4, panel_height + 5), label, fill="black", font=font)
    return Picture(np.asarray(picture))
