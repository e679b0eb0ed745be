"""Piecewise floating-point access to images of any dtype."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .scratch import empty

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow's mode L


class Pixels:
    """Images of any dtype on any device, read and written as floating-point in [0, 1].

    Only the requested piece is converted: the image itself keeps its dtype, and may be mapped from a file.

    Args:
        data: View of the images, (B, C, H, W): uint8 or uint16 over their whole range, or floating-point.
    """

    def __init__(self, data: Tensor) -> None:
        self.data = data
        self.max_value = 1 if data.is_floating_point() else torch.iinfo(data.dtype).max

    @classmethod
    def from_array(cls, pixels: np.ndarray) -> Pixels:
        """Wrap an array (H, W, C), without a copy if its layout allows."""
        pixels = np.ascontiguousarray(pixels)
        if not pixels.flags.writeable:  # torch.from_numpy warns about read-only arrays
            pixels = pixels.copy()
        return cls(torch.from_numpy(pixels).permute(2, 0, 1)[None])

    def to_array(self) -> np.ndarray:
        """Return the first image as an array (H, W, C)."""
        return self.data[0].permute(1, 2, 0).numpy()

    @property
    def shape(self) -> torch.Size:
        """(B, C, H, W)."""
        return self.data.shape

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the pieces: float64 for float64 images, otherwise float32."""
        return torch.float64 if self.data.dtype == torch.float64 else torch.float32

    def read(self, rows: slice = slice(None), columns: slice = slice(None)) -> Tensor:
        """Return a piece, (B, C, h, w), as floating-point in [0, 1]."""
        piece = self.data[..., rows, columns].to(self.dtype, memory_format=torch.contiguous_format)
        return piece if self.max_value == 1 else piece.div_(self.max_value)

    def write(self, rows: slice, columns: slice, values: Tensor) -> None:
        """Write a piece, (B, C, h, w), clamped to [0, 1] and rounded to the levels of the dtype."""
        values = values.clamp(0, 1)
        if self.max_value != 1:
            values = values.mul_(self.max_value).round_()
        self.data[..., rows, columns] = values

    def empty_upscaled(self, scale: int, in_file: bool) -> Pixels:
        """Allocate SR images of the same dtype, device and layout, in memory or a file (CPU only)."""
        batch, channels, height, width = self.shape
        height, width = scale * height, scale * width
        device = self.data.device
        in_file = in_file and device.type == "cpu"
        if self.data.stride(1) == 1 and channels > 1:
            data = empty((batch, height, width, channels), self.data.dtype, device, in_file).permute(0, 3, 1, 2)
        else:
            data = empty((batch, channels, height, width), self.data.dtype, device, in_file)
        return Pixels(data)

    def image(self, index: int) -> Pixels:
        """Return a view of one image, (1, C, H, W)."""
        return type(self)(self.data[index : index + 1])

    def channels(self, part: slice) -> Pixels:
        """Return a view of a slice of the channels."""
        return Pixels(self.data[:, part])

    def split_channels(self) -> Pixels:
        """Return a view with each channel as a separate image, (B·C, 1, H, W)."""
        return Pixels(self.data.flatten(0, 1)[:, None])

    def repeat_channels(self, channels: int) -> Pixels:
        """Return a view of gray images repeated over ``channels`` channels."""
        return Pixels(self.data.expand(-1, channels, -1, -1))

    def as_luma(self) -> Pixels:
        """Return a view that stores the luma of the RGB pieces written to it."""
        return _Luma(self.data)


class _Luma(Pixels):
    def write(self, rows: slice, columns: slice, values: Tensor) -> None:
        values = values.clamp(0, 1)
        super().write(rows, columns, torch.einsum("bchw,c->bhw", values, values.new_tensor(_LUMA))[:, None])
