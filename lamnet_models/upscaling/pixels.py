"""Images as networks see them, read and written piece by piece, whatever type they are kept in."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .scratch import empty

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's grey


class Pixels:
    """Images of any type, on any device, that are floating-point in [0, 1] wherever they are looked at.

    Only the piece in hand is ever floating-point: a photograph stays in its 8 bits, and may lie in a file.

    Args:
        data: (B, C, H, W), a view of what is read or written: uint8 or uint16 over their whole range, or
            floating-point.
    """

    def __init__(self, data: Tensor) -> None:
        self.data = data
        self.max_value = 1 if data.is_floating_point() else torch.iinfo(data.dtype).max

    @classmethod
    def from_array(cls, pixels: np.ndarray) -> Pixels:
        """Returns the pixels (H, W, C) of an array, which is shared where its layout allows."""
        pixels = np.ascontiguousarray(pixels)
        if not pixels.flags.writeable:  # torch has no such tensors, and warns
            pixels = pixels.copy()
        return cls(torch.from_numpy(pixels).permute(2, 0, 1)[None])

    def to_array(self) -> np.ndarray:
        """Returns the first of the images as an array (H, W, C)."""
        return self.data[0].permute(1, 2, 0).numpy()

    @property
    def shape(self) -> torch.Size:
        """(B, C, H, W)."""
        return self.data.shape

    @property
    def dtype(self) -> torch.dtype:
        """Type of the pieces: float64 for what is that itself, otherwise float32."""
        return torch.float64 if self.data.dtype == torch.float64 else torch.float32

    def read(self, rows: slice = slice(None), columns: slice = slice(None)) -> Tensor:
        """Returns a piece, (B, C, h, w), floating-point."""
        piece = self.data[..., rows, columns].to(self.dtype, memory_format=torch.contiguous_format)
        return piece if self.max_value == 1 else piece.div_(self.max_value)

    def write(self, rows: slice, columns: slice, values: Tensor) -> None:
        """Takes a piece, (B, C, h, w), cut to [0, 1] and rounded to the levels that there are."""
        values = values.clamp(0, 1)
        if self.max_value != 1:
            values = values.mul_(self.max_value).round_()
        self.data[..., rows, columns] = values

    def empty_upscaled(self, scale: int, in_file: bool) -> Pixels:
        """Returns room for the larger images, of the same type, device and layout, in memory or, on the CPU, a file."""
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
        """Returns a view of one of the images, (1, C, H, W)."""
        return type(self)(self.data[index : index + 1])

    def channels(self, part: slice) -> Pixels:
        """Returns a view of some of the channels."""
        return Pixels(self.data[:, part])

    def split_channels(self) -> Pixels:
        """Returns a view of each channel as an image of its own, (B·C, 1, H, W)."""
        return Pixels(self.data.flatten(0, 1)[:, None])

    def repeat_channels(self, channels: int) -> Pixels:
        """Returns a view of grey images in so many equal channels."""
        return Pixels(self.data.expand(-1, channels, -1, -1))

    def as_luma(self) -> Pixels:
        """Returns a view that takes RGB and keeps its luma."""
        return _Luma(self.data)


class _Luma(Pixels):
    def write(self, rows: slice, columns: slice, values: Tensor) -> None:
        values = values.clamp(0, 1)
        super().write(rows, columns, torch.einsum("bchw,c->bhw", values, values.new_tensor(_LUMA))[:, None])
