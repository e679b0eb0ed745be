"""PSNR and SSIM as reported in super-resolution papers, and their protocols."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

SSIM_WINDOW = 11
"""Side in pixels of SSIM's Gaussian window, the minimum image size."""

_OVERSHOOT = 1  # of a network's output beyond [0, 1]; values in [0, 255] exceed it


def rgb_to_y(image: np.ndarray) -> np.ndarray:
    """Return the ITU-R BT.601 luma of MATLAB's ``rgb2ycbcr``, unrounded.

    ``Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255``

    Args:
        image: RGB, (H, W, 3), in [0, 255] of any type.

    Returns:
        (H, W) float64 in [16, 235].
    """
    return 16 + image.astype(np.float64) @ (np.array([65.481, 128.553, 24.966]) / 255)


def psnr(image: np.ndarray | Tensor, reference: np.ndarray | Tensor, border: int = 0, channel: str = "y") -> float:
    """Return the peak signal-to-noise ratio in dB, infinite for equal images.

    Args:
        image: SR image: an array (H, W) or (H, W, C) in [0, 255] of any type, a uint8 tensor (C, H, W), or a
            floating-point tensor (C, H, W) in [0, 1], which is clamped and rounded to 8 bits first. C is 1 (gray) or 3
            (RGB); gray counts as three equal channels.
        reference: HR image of the same shape.
        border: Pixels cropped at each edge.
        channel: ``"y"``: luma; ``"rgb"``: all channels.

    Raises:
        ValueError: If the shapes differ, the border leaves no pixels, an argument is out of range, or values of a
            floating-point tensor are below −1 or above 2.
    """
    image, reference = _prepare(image, reference, border, channel)
    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(reference, image, data_range=255))


def ssim(image: np.ndarray | Tensor, reference: np.ndarray | Tensor, border: int = 0, channel: str = "y") -> float:
    """Return the structural similarity in [−1, 1]: 11×11 Gaussian window, σ = 1.5, valid region.

    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity" (2004).

    Args:
        image: SR image; see [`psnr`][lamnet_models.evaluation.psnr].
        reference: HR image of the same shape.
        border: Pixels cropped at each edge.
        channel: ``"y"``: luma; ``"rgb"``: mean over the channels.

    Raises:
        ValueError: If the shapes differ, the images are smaller than the window, or an argument is out of range.
    """
    image, reference = _prepare(image, reference, border, channel)
    if min(image.shape[:2]) < SSIM_WINDOW:
        raise ValueError(
            f"image must have at least {SSIM_WINDOW}×{SSIM_WINDOW} pixels without its border for SSIM, got "
            f"{image.shape[1]}×{image.shape[0]}"
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
    """Return a tensor (C, H, W) in [0, 1] as an array (H, W, C) of uint8: clamped, then rounded."""
    return image.detach().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()


def _prepare(
    image: np.ndarray | Tensor, reference: np.ndarray | Tensor, border: int, channel: str
) -> tuple[np.ndarray, np.ndarray]:
    if channel not in ("y", "rgb"):
        raise ValueError(f"channel must be 'y' or 'rgb', got {channel!r}")
    if not isinstance(border, int) or border < 0:
        raise ValueError(f"border must be an integer of at least 0, got {border!r}")
    pair = [_to_array("image", image), _to_array("reference", reference)]
    if pair[0].shape != pair[1].shape:
        raise ValueError(f"image must have the shape of reference, {pair[1].shape}, got {pair[0].shape}")
    prepared = []
    for item in pair:
        if item.ndim == 2:
            item = item[..., None]
        if item.ndim != 3 or item.shape[2] not in (1, 3):
            raise ValueError(f"image must be (H, W), (H, W, 1) or (H, W, 3), got shape {item.shape}")
        item = item[border : item.shape[0] - border, border : item.shape[1] - border]
        if 0 in item.shape:
            height, width = pair[0].shape[:2]
            raise ValueError(f"border must be less than half of each side of the image, {width}×{height}, got {border}")
        item = np.broadcast_to(item, (*item.shape[:2], 3))
        prepared.append(rgb_to_y(item) if channel == "y" else item.astype(np.float64))
    return prepared[0], prepared[1]


def _to_array(name: str, image: np.ndarray | Tensor) -> np.ndarray:
    """Return an image as an array in [0, 255], (H, W, C) if it is a tensor."""
    if not isinstance(image, Tensor):
        return np.asarray(image)
    if image.dim() != 3 or 0 in image.shape:
        raise ValueError(f"{name} must have shape (C, H, W), none of them 0, got {tuple(image.shape)}")
    if image.dtype == torch.uint8:
        return image.permute(1, 2, 0).cpu().numpy()
    if not image.is_floating_point():
        raise ValueError(f"{name} must be uint8 or floating-point in [0, 1] if it is a tensor, got {image.dtype}")
    low, high = (bound.item() for bound in image.aminmax())
    if not -_OVERSHOOT <= low <= high <= 1 + _OVERSHOOT:  # also rejects NaN
        raise ValueError(f"{name} must have values in [0, 1], got values from {low:g} to {high:g}")
    return to_uint8(image)


@dataclass(frozen=True)
class Protocol:
    """Border and channel of PSNR and SSIM on SR images clamped and rounded to 8 bits.

    Attributes:
        name: Name of the protocol.
        border: Pixels cropped at each edge; None for the scale factor.
        channel: ``"y"``: luma; ``"rgb"``: all channels.
    """

    name: str
    border: int | None = None
    channel: str = "y"

    def border_at(self, scale: int) -> int:
        """Return the pixels cropped at each edge for a scale."""
        return scale if self.border is None else self.border

    def describe(self, scale: int) -> str:
        """Return a one-line description for a scale."""
        border = self.border_at(scale)
        return f"PSNR and SSIM on {self.channel.upper()}, {border} border pixels cropped ({self.name} protocol)"


PROTOCOLS = {protocol.name: protocol for protocol in (Protocol("standard"), Protocol("lamnet", border=4))}
"""Protocols by name: ``standard`` as in most papers, ``lamnet`` as in the original LAMNet."""


def resolve_protocol(name: str = "standard", border: int | None = None, channel: str | None = None) -> Protocol:
    """Return a named protocol, optionally with another border or channel.

    Args:
        name: ``"standard"`` or ``"lamnet"``.
        border: Pixels cropped at each edge, at least 0, instead of the protocol's.
        channel: ``"y"`` or ``"rgb"``, instead of the protocol's.

    Raises:
        ValueError: If an argument is out of range.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {name!r}")
    if border is not None and (not isinstance(border, int) or border < 0):
        raise ValueError(f"border must be an integer of at least 0, got {border!r}")
    if channel not in (None, "y", "rgb"):
        raise ValueError(f"channel must be 'y' or 'rgb', got {channel!r}")
    protocol = PROTOCOLS[name]
    custom = replace(
        protocol,
        border=protocol.border if border is None else border,
        channel=channel or protocol.channel,
    )
    return custom if custom == protocol else replace(custom, name="custom")
