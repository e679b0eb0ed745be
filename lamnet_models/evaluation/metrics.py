"""PSNR and SSIM as papers on super-resolution report them."""

from __future__ import annotations

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

SSIM_WINDOW = 11
"""Side in pixels of SSIM's Gaussian window, and so the smallest image it is defined on."""


def rgb_to_y(image: np.ndarray) -> np.ndarray:
    """Returns the luma of ITU-R BT.601 as MATLAB's ``rgb2ycbcr`` defines it, unrounded.

    ``Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255``

    Args:
        image: RGB, (H, W, 3), in [0, 255] of any type.

    Returns:
        (H, W) float64 in [16, 235].
    """
    return 16 + image.astype(np.float64) @ (np.array([65.481, 128.553, 24.966]) / 255)


def psnr(image: np.ndarray | Tensor, reference: np.ndarray | Tensor, border: int = 0, channel: str = "y") -> float:
    """Returns the peak signal-to-noise ratio in dB, infinite for equal images.

    Args:
        image: The image to judge: an array (H, W) or (H, W, C) in [0, 255] of any type, or a tensor (C, H, W) in
            [0, 1], which is clamped and rounded to 8 bit first. C is 1 (grey) or 3 (RGB); grey counts as three equal
            channels.
        reference: The HR image, of the same shape.
        border: Width in pixels of the frame to leave out.
        channel: ``"y"``: on the luma alone; ``"rgb"``: over all channels.

    Raises:
        ValueError: If the images do not have the same shape or nothing is left of them, or an argument is out of range.
    """
    image, reference = _prepare(image, reference, border, channel)
    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(reference, image, data_range=255))


def ssim(image: np.ndarray | Tensor, reference: np.ndarray | Tensor, border: int = 0, channel: str = "y") -> float:
    """Returns the structural similarity in [−1, 1]: 11×11 Gaussian window with σ = 1.5, where it lies inside the image.

    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity" (2004).

    Args:
        image: The image to judge; see [`psnr`][lamnet_models.evaluation.psnr].
        reference: The HR image, of the same shape.
        border: Width in pixels of the frame to leave out.
        channel: ``"y"``: on the luma alone; ``"rgb"``: the mean over the channels.

    Raises:
        ValueError: If the images do not have the same shape or are smaller than the window, or an argument is out of
            range.
    """
    image, reference = _prepare(image, reference, border, channel)
    if min(image.shape[:2]) < SSIM_WINDOW:
        raise ValueError(
            f"image has {image.shape[1]}×{image.shape[0]} pixels without its border, but SSIM needs at least "
            f"{SSIM_WINDOW}×{SSIM_WINDOW}"
        )
    return float(
        structural_similarity(
            reference,
            image,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=2 if image.ndim == 3 else None,
        )
    )


def to_uint8(image: Tensor) -> np.ndarray:
    """Returns a tensor (C, H, W) in [0, 1] as an array (H, W, C) of uint8: clamped, then rounded."""
    return image.detach().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()


def _prepare(
    image: np.ndarray | Tensor, reference: np.ndarray | Tensor, border: int, channel: str
) -> tuple[np.ndarray, np.ndarray]:
    if channel not in ("y", "rgb"):
        raise ValueError(f"channel is {channel!r}, but it must be 'y' or 'rgb'")
    if not isinstance(border, int) or border < 0:
        raise ValueError(f"border is {border!r}, but it must be an integer of at least 0")
    pair = [to_uint8(item) if isinstance(item, Tensor) else np.asarray(item) for item in (image, reference)]
    if pair[0].shape != pair[1].shape:
        raise ValueError(f"image has shape {pair[0].shape}, but it must have the shape of reference, {pair[1].shape}")
    prepared = []
    for item in pair:
        if item.ndim == 2:
            item = item[..., None]
        if item.ndim != 3 or item.shape[2] not in (1, 3):
            raise ValueError(f"image has shape {item.shape}, but it must be grey (H, W) or (H, W, 1), or RGB (H, W, 3)")
        item = item[border : item.shape[0] - border, border : item.shape[1] - border]
        if 0 in item.shape:
            raise ValueError(f"border is {border}, but that leaves nothing of an image of shape {pair[0].shape}")
        item = np.broadcast_to(item, (*item.shape[:2], 3))
        prepared.append(rgb_to_y(item) if channel == "y" else item.astype(np.float64))
    return prepared[0], prepared[1]
