"""Measuring super-resolution the way papers do: exact bicubic reduction, metrics on the luma."""

from .metrics import psnr, rgb_to_y, ssim
from .resize import imresize

__all__ = ["imresize", "psnr", "rgb_to_y", "ssim"]
