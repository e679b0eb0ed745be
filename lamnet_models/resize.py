"""Bit-exact reimplementation of MATLAB's bicubic ``imresize``."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

Image = TypeVar("Image", np.ndarray, Tensor)

BORDERS = ("mirror", "replicate")
PIPELINES = ("uint8", "double")

_BAND_VALUES = 2**22  # values processed at a time


def imresize(
    image: Image,
    scale: float | None = None,
    border: str = "mirror",
    pipeline: str = "uint8",
    *,
    size: tuple[int, int] | None = None,
    out: np.ndarray | None = None,
) -> Image:
    """Resize an image as MATLAB's ``imresize(image, scale, 'bicubic')``.

    Cubic kernel with a = −0.5, widened by 1/scale when downscaling. Rows are resized first, then columns.

    Args:
        image: Array (H, W) or (H, W, C), uint8, uint16 or floating point; or floating-point tensor (…, H, W), on any
            device, differentiable.
        scale: Scale factor > 0; the result has ⌈scale·H⌉ × ⌈scale·W⌉ pixels. None if ``size`` is set.
        border: Padding: ``"mirror"`` as in MATLAB, or ``"replicate"`` as in its older releases, with which the usual
            copies of Set5 and Set14 were made.
        pipeline: For integer images: ``"uint8"`` rounds after each pass, as MATLAB does for integer images;
            ``"double"`` rounds once at the end, as for an image converted to double. Floating point is never rounded.
        size: Height and width of the result, as MATLAB's ``imresize(image, [height width], 'bicubic')``, with a
            separate factor for each axis.
        out: Output array of the result's shape and dtype; None for a new array.

    Returns:
        The resized image in the input dtype. Integers are rounded half up and clamped; floating point is not clamped.

    Raises:
        ValueError: If an argument is out of range.
    """
    if size is not None and (scale is not None or not all(isinstance(n, int) and n > 0 for n in size)):
        raise ValueError(f"size must be two integers > 0, with scale=None, got {size!r}")
    if size is None and (not isinstance(scale, int | float) or not 0 < scale < math.inf):
        raise ValueError(f"scale must be a number > 0, got {scale!r}")
    for name, value, allowed in (("border", border, BORDERS), ("pipeline", pipeline, PIPELINES)):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    if isinstance(image, Tensor):
        return _resize_tensor(image, scale, size, border)
    image = np.asarray(image)
    is_integer = image.dtype in (np.uint8, np.uint16)
    if image.ndim not in (2, 3) or 0 in image.shape or not (is_integer or np.issubdtype(image.dtype, np.floating)):
        raise ValueError(
            f"image must be a nonempty (H, W) or (H, W, C) array of uint8, uint16 or floating point, got shape "
            f"{image.shape}, dtype {image.dtype}"
        )
    round_passes = is_integer and pipeline == "uint8"
    row_weights, column_weights = _resize_matrices(image.shape[:2], scale, size, border)
    shape = (row_weights.shape[0], column_weights.shape[0], *image.shape[2:])
    if out is not None and (out.shape, out.dtype) != (shape, image.dtype):
        raise ValueError(f"out must have shape {shape} and dtype {image.dtype}, got {out.shape}, {out.dtype}")
    result = np.empty(shape, image.dtype) if out is None else out
    length = max(1, _BAND_VALUES // image[0].size)
    for start in range(0, len(result), length):  # bands bound the float64 memory
        band = row_weights[start : start + length]
        first, last = band.indices.min(), band.indices.max() + 1
        rows = _resize_rows(image[first:last], band[:, first:last], round_passes)
        columns = _resize_rows(rows.swapaxes(0, 1), column_weights, round_passes).swapaxes(0, 1)
        result[start : start + length] = columns if round_passes or not is_integer else _round(columns, image.dtype)
    return result


def _resize_matrices(
    shape: tuple[int, ...], scale: float | None, size: tuple[int, int] | None, border: str
) -> tuple[csr_array, csr_array]:
    """Return the matrices that resize the rows and the columns of an image (H, W)."""
    lengths = size or tuple(math.ceil(scale * length) for length in shape)
    factors = (
        (scale, scale) if size is None else tuple(target / source for target, source in zip(size, shape, strict=True))
    )
    row_weights, column_weights = (_weights(*axis, border) for axis in zip(shape, lengths, factors, strict=True))
    return row_weights, column_weights


@lru_cache(maxsize=64)
def _weights(size: int, length: int, scale: float, border: str) -> csr_array:
    """Return the (length, size) matrix that resizes one axis by ``scale``, in float64."""
    stretch = min(scale, 1.0)  # antialiasing: downscaling widens the kernel
    support = 4 / stretch
    taps = math.ceil(support) + 2
    centers = (np.arange(length) + 0.5) / scale - 0.5
    first = np.floor(centers - support / 2) + 1
    indices = (first[:, None] + np.arange(taps)).astype(np.int64)
    weights = _cubic(stretch * (centers[:, None] - indices))
    weights /= weights.sum(axis=1, keepdims=True)
    if border == "mirror":
        indices %= 2 * size
        indices = np.minimum(indices, 2 * size - 1 - indices)
    else:
        indices = indices.clip(0, size - 1)
    starts = np.arange(0, indices.size + 1, taps)
    matrix = csr_array((weights.ravel(), indices.ravel(), starts), shape=(len(centers), size))
    matrix.eliminate_zeros()
    return matrix


def _cubic(x: np.ndarray) -> np.ndarray:
    """Return the cubic convolution kernel with a = −0.5 (Keys, 1981)."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _resize_rows(image: np.ndarray, weights: csr_array, round_result: bool) -> np.ndarray:
    """Return the image with its first axis resized, rounded to its dtype or in float64."""
    dtype = image.dtype if round_result else np.float64
    flat = image.reshape(len(image), -1)
    result = np.empty((weights.shape[0], flat.shape[1]), dtype)
    width = 1024  # columns at a time, to fit the cache in float64
    for start in range(0, flat.shape[1], width):
        part = weights @ flat[:, start : start + width].astype(np.float64)
        result[:, start : start + width] = _round(part, dtype) if round_result else part
    return result.reshape(len(result), *image.shape[1:])


def _round(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.floor(values + 0.5).clip(0, np.iinfo(dtype).max).astype(dtype)


def _resize_tensor(image: Tensor, scale: float | None, size: tuple[int, int] | None, border: str) -> Tensor:
    if image.dim() < 2 or 0 in image.shape or not image.is_floating_point():
        raise ValueError(
            f"image must be a nonempty floating-point tensor (…, H, W), got shape {tuple(image.shape)}, dtype "
            f"{image.dtype}"
        )
    axes = _resize_matrices(tuple(image.shape[-2:]), scale, size, border)
    rows, columns = (torch.from_numpy(axis.toarray()).to(image) for axis in axes)
    return rows @ image @ columns.mT
