"""Super-resolution evaluation: MATLAB bicubic downscaling, protocols, metrics, benchmarks."""

from ..resize import imresize
from .compare import Comparison, compare
from .evaluate import ImageResult, evaluate
from .metrics import PROTOCOLS, Protocol, psnr, rgb_to_y, ssim
from .results import Evaluation, ImageScore

__all__ = [
    "PROTOCOLS",
    "Comparison",
    "Evaluation",
    "ImageResult",
    "ImageScore",
    "Protocol",
    "compare",
    "evaluate",
    "imresize",
    "psnr",
    "rgb_to_y",
    "ssim",
]
