"""Pixel buffers: piecewise access, memory-mapped temporary tensors, and transparency."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from math import prod
from pathlib import Path

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import LAMNetError

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow's mode L
_IN_MEMORY = ("tmpfs", "ramfs")  # file systems kept in memory


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

    def split_channels(self) -> list[Pixels]:
        """Return views of the single channels, (B, 1, H, W) each."""
        return [Pixels(channel) for channel in self.data.split(1, dim=1)]

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


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, in_file: bool) -> Tensor:
    """Return an uninitialized tensor, in memory or mapped from a temporary file.

    The file is unlinked (on Windows: deleted on close): it disappears with the tensor, even if the process is killed.
    Its disk space is allocated up front, because a disk that fills up later would crash the process.

    Args:
        shape: Shape of the tensor.
        dtype: Data type.
        device: Device; must be the CPU if ``in_file``.
        in_file: Map the tensor from a temporary file.

    Raises:
        LAMNetError: If the disk is too full.
    """
    if not in_file:
        return torch.empty(shape, dtype=dtype, device=device)
    size, folder = prod(shape) * dtype.itemsize, scratch_folder()
    if size > 0.95 * (free := shutil.disk_usage(folder).free):
        raise LAMNetError(_disk_full_message(size, folder, free))
    with tempfile.TemporaryFile(dir=folder, prefix="lamnet-") as file:
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            mapped = mmap.mmap(file.fileno(), size)
        except OSError:
            raise LAMNetError(_disk_full_message(size, folder, shutil.disk_usage(folder).free)) from None
    return torch.frombuffer(mapped, dtype=dtype).view(shape)


def scratch_folder() -> Path:
    """Return the folder for large temporary files.

    This is ``TMPDIR`` or the system's temporary folder, or ``/var/tmp`` if the latter is kept in memory, as ``/tmp`` is
    on many systems.
    """
    folder, large = Path(tempfile.gettempdir()), Path("/var/tmp")
    if "TMPDIR" not in os.environ and os.access(large, os.W_OK) and _is_memory_backed(folder):
        return large
    return folder


def _is_memory_backed(folder: Path) -> bool:
    file_systems = {disk.mountpoint: disk.fstype for disk in psutil.disk_partitions(all=True)}
    mountpoint = next((str(path) for path in (folder, *folder.parents) if str(path) in file_systems), "")
    return file_systems.get(mountpoint) in _IN_MEMORY


def _disk_full_message(size: int, folder: Path, free: int) -> str:
    return (
        f"memory is short, and a temporary file of {size / 1e9:.2f} GB does not fit in {folder} ({free / 1e9:.2f} GB "
        "free); free disk space or set TMPDIR to another folder"
    )


def fill_transparent(color: Tensor, alpha: Tensor) -> Tensor:
    """Replace the colors of fully transparent pixels with those of the visible pixels around them.

    Editors store black or arbitrary colors under transparent pixels, which a network spreads across the edge as dark
    fringes. Premultiplied alpha avoids this, but the network then sees an image that fades to black, and the division
    by alpha amplifies its errors where alpha is small. After filling, colors are similar across the edge. Pixels with
    alpha > 0 are unchanged.

    The fill is an alpha-weighted average over squares: each pixel takes the smallest square that contains a visible
    pixel (pull-push: Gortler et al., "The Lumigraph", 1996).

    Args:
        color: (B, C, H, W).
        alpha: (B, 1, H, W) in [0, 1].

    Returns:
        The filled colors, (B, C, H, W); images without a visible pixel are unchanged.
    """
    hidden = (alpha == 0) & (alpha > 0).any(dim=(-2, -1), keepdim=True)
    return torch.where(hidden, _pull_push(color * alpha, alpha), color) if hidden.any() else color


def _pull_push(weighted: Tensor, weight: Tensor) -> Tensor:
    height, width = weight.shape[-2:]
    if height == width == 1:
        return weighted / weight.clamp_min(torch.finfo(weight.dtype).tiny)
    # Pull: average 2×2 squares. The weight of a square is the sum of its weights, at most 1: one opaque pixel fills it.
    pooled = F.avg_pool2d(weight, 2, ceil_mode=True)
    gain = (4 * pooled).clamp(max=1) / pooled.clamp_min(torch.finfo(weight.dtype).tiny)
    coarse = _pull_push(F.avg_pool2d(weighted, 2, ceil_mode=True) * gain, pooled * gain)
    # Push: interpolate the coarse level into the pixels whose weight is below 1.
    coarse = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]
    return weighted + (1 - weight) * coarse
