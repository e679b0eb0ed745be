"""MATLAB's bicubic ``imresize``, which the field's benchmarks are made with, to the last byte."""

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

_BAND_VALUES = 2**22  # values of the image's rows at a time: a band of the result


def imresize(
    image: Image,
    scale: float | None = None,
    border: str = "mirror",
    pipeline: str = "uint8",
    *,
    size: tuple[int, int] | None = None,
    out: np.ndarray | None = None,
) -> Image:
    """Resizes an image as MATLAB's ``imresize(image, scale, 'bicubic')`` does.

    The cubic kernel with a = −0.5 is widened by 1/scale when the image shrinks; rows are resized first, then columns.

    Args:
        image: Array (H, W) or (H, W, C) of uint8, uint16 or floating point; or tensor (…, H, W) of floating point, on
            any device, differentiable.
        scale: Factor, > 0; the result has ⌈scale·H⌉ × ⌈scale·W⌉ pixels. None where ``size`` is given.
        border: What lies outside the image: ``"mirror"`` as MATLAB does, or ``"replicate"`` as its older releases did,
            with which Set5 and Set14 are usually distributed.
        pipeline: For integer images: ``"uint8"`` rounds after each pass, as MATLAB does with such images; ``"double"``
            rounds once at the end, as for an image turned to double before. Floating point is never rounded.
        size: Height and width of the result, as MATLAB's ``imresize(image, [height width], 'bicubic')``: each axis gets
            the factor that it takes.
        out: Where to put the result of an array, of its shape and type; a new array if None.

    Returns:
        The resized image, of the type it came in; integers rounded half up and clamped, floating point not clamped.

    Raises:
        ValueError: If an argument is out of its range.
    """
    if size is not None and (scale is not None or not all(isinstance(n, int) and n > 0 for n in size)):
        raise ValueError(f"size is {size!r}, but it must be two integers above 0, given in place of scale")
    if size is None and (not isinstance(scale, int | float) or not 0 < scale < math.inf):
        raise ValueError(f"scale is {scale!r}, but it must be a number above 0")
    for name, value, allowed in (("border", border, BORDERS), ("pipeline", pipeline, PIPELINES)):
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}, but it must be one of {', '.join(map(repr, allowed))}")
    if isinstance(image, Tensor):
        return _resize_tensor(image, scale, size, border)
    image = np.asarray(image)
    is_integer = image.dtype in (np.uint8, np.uint16)
    if image.ndim not in (2, 3) or 0 in image.shape or not (is_integer or np.issubdtype(image.dtype, np.floating)):
        raise ValueError(
            f"image has shape {image.shape} and type {image.dtype}, but it must be (H, W) or (H, W, C), not empty, "
            "of uint8, uint16 or floating point"
        )
    rounds = is_integer and pipeline == "uint8"
    down, across = _resize_matrices(image.shape[:2], scale, size, border)
    shape = (down.shape[0], across.shape[0], *image.shape[2:])
    if out is not None and (out.shape, out.dtype) != (shape, image.dtype):
        raise ValueError(f"out has shape {out.shape} and type {out.dtype}, but it must be {shape}, {image.dtype}")
    result = np.empty(shape, image.dtype) if out is None else out
    length = max(1, _BAND_VALUES // image[0].size)
    for start in range(0, len(result), length):  # so that what is in float64 stays small
        band = down[start : start + length]
        first, last = band.indices.min(), band.indices.max() + 1
        rows = _resize_rows(image[first:last], band[:, first:last], rounds)
        columns = _resize_rows(rows.swapaxes(0, 1), across, rounds).swapaxes(0, 1)
        result[start : start + length] = columns if rounds or not is_integer else _round(columns, image.dtype)
    return result


def _resize_matrices(
    shape: tuple[int, ...], scale: float | None, size: tuple[int, int] | None, border: str
) -> tuple[csr_array, csr_array]:
    """Returns the matrices that resize rows and columns of an image (H, W)."""
    lengths = size or tuple(math.ceil(scale * length) for length in shape)
    factors = (scale, scale) if size is None else tuple(new / old for new, old in zip(size, shape, strict=True))
    down, across = (_weights(*axis, border) for axis in zip(shape, lengths, factors, strict=True))
    return down, across


@lru_cache(maxsize=64)
def _weights(size: int, length: int, scale: float, border: str) -> csr_array:
    """Returns the (length, size) matrix that resizes one axis by a factor, in float64."""
    stretch = min(scale, 1.0)  # shrinking widens the kernel, which keeps frequencies out that the result cannot hold
    support = 4 / stretch
    taps = math.ceil(support) + 2
    centres = (np.arange(length) + 0.5) / scale - 0.5
    first = np.floor(centres - support / 2) + 1
    indices = (first[:, None] + np.arange(taps)).astype(np.int64)
    weights = _cubic(stretch * (centres[:, None] - indices))
    weights /= weights.sum(axis=1, keepdims=True)
    if border == "mirror":
        indices %= 2 * size
        indices = np.minimum(indices, 2 * size - 1 - indices)
    else:
        indices = indices.clip(0, size - 1)
    starts = np.arange(0, indices.size + 1, taps)
    matrix = csr_array((weights.ravel(), indices.ravel(), starts), shape=(len(centres), size))
    matrix.eliminate_zeros()
    return matrix


def _cubic(x: np.ndarray) -> np.ndarray:
    """Returns the cubic convolution kernel with a = −0.5 (Keys, 1981)."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _resize_rows(image: np.ndarray, weights: csr_array, rounds: bool) -> np.ndarray:
    """Returns the image with its first axis resized, rounded to its type or in float64."""
    dtype = image.dtype if rounds else np.float64
    flat = image.reshape(len(image), -1)
    result = np.empty((weights.shape[0], flat.shape[1]), dtype)
    step = 1024  # columns at a time, so that what is in float64 stays in the cache
    for start in range(0, flat.shape[1], step):
        part = weights @ flat[:, start : start + step].astype(np.float64)
        result[:, start : start + step] = _round(part, dtype) if rounds else part
    return result.reshape(len(result), *image.shape[1:])


def _round(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.floor(values + 0.5).clip(0, np.iinfo(dtype).max).astype(dtype)


def _resize_tensor(image: Tensor, scale: float | None, size: tuple[int, int] | None, border: str) -> Tensor:
    if image.dim() < 2 or 0 in image.shape or not image.is_floating_point():
        raise ValueError(
            f"image has shape {tuple(image.shape)} and type {image.dtype}, but as a tensor it must be (…, H, W), not "
            "empty, of floating point"
        )
    axes = _resize_matrices(tuple(image.shape[-2:]), scale, size, border)
    rows, columns = (torch.from_numpy(axis.toarray()).to(image) for axis in axes)
    return rows @ image @ columns.mT
