"""A network at work on images of any size and number of channels: where, in what type, in which pieces."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import LAMNetError
from .memory import available_memory, forward_memory
from .tiling import Progress, forward_tiled
from .transparency import fill_transparent

AUTO_TILE = 256
"""Side of the tiles that an image too large for the memory is cut into: always the same, so that pixels depend on that
choice alone and not on how much memory there was."""

PRECISIONS = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}
"""Types to compute in by name; None is the network's own."""

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's grey
_TOLERANCE = 1e-3
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass(frozen=True)
class Inference:
    """A network and how it is run.

    Attributes:
        model: A network on (B, C, H, W) with attributes ``scale`` and ``in_chans``.
        device: Where it is.
        tile: Side of the tiles; 0 for the whole image, ``"auto"`` for the whole where memory allows.
        tile_pad: Pixels around a tile that are run with it.
    """

    model: nn.Module
    device: torch.device
    tile: int | str
    tile_pad: int

    def tile_for(self, height: int, width: int, batch: int = 1) -> int:
        """Returns the side of the tiles that images of this size are cut into now; 0 means the whole at once."""
        tile = self.tile
        if tile == "auto":
            fits = forward_memory(self.model, batch * height * width) <= 0.8 * available_memory(self.device)
            tile = 0 if fits else AUTO_TILE
        return tile if max(height, width) > tile else 0

    @torch.no_grad()
    def enlarge(self, image: Tensor, half: torch.dtype | None = None, progress: Progress | None = None) -> Tensor:
        """Enlarges images, alpha and all.

        Args:
            image: (B, C, H, W), float32 or float64, in [0, 1], on any device. C is what the network has or, where that
                is 1 or 3, up to 4, the last of 2 and 4 being alpha.
            half: Type of autocast; None for the network's own type.
            progress: Called after each step with the steps done and all steps.

        Returns:
            (B, C, scale·H, scale·W) in [0, 1], in the type and on the device of ``image``.
        """
        low, high = (bound.item() for bound in image.aminmax())
        if not -_TOLERANCE <= low <= high <= 1 + _TOLERANCE:  # no comparison holds for what is not a number
            raise ValueError(f"image has values from {low:g} to {high:g}, but they must be in [0, 1]")
        channels, wanted = image.shape[1], self.model.in_chans
        if channels != wanted and not (channels <= 4 and wanted in (1, 3)):
            raise ValueError(f"image has {channels} channels, but the model has {wanted}")
        with _evaluating(self.model):
            if channels == wanted or channels in (1, 3):
                return self._enlarge_colours(image, half, progress)
            colours, alpha = image[:, :-1], image[:, -1:]
            level = alpha.flatten()[0]
            varies = bool((alpha != level).any())
            parts = [fill_transparent(colours, alpha), alpha] if varies else [colours]
            results = [
                self._enlarge_colours(part, half, progress and _part_of(progress, index, len(parts)))
                for index, part in enumerate(parts)
            ]
            if not varies:
                results.append(level.expand_as(results[0][:, :1]))
            return torch.cat(results, dim=1)

    def _enlarge_colours(self, image: Tensor, half: torch.dtype | None, progress: Progress | None) -> Tensor:
        channels, wanted = image.shape[1], self.model.in_chans
        if channels > wanted:  # each channel by itself
            return self._run(image.flatten(0, 1)[:, None], half, progress).view(-1, channels, *self._size(image))
        if channels == wanted:
            return self._run(image, half, progress)
        colours = self._run(image.expand(-1, wanted, -1, -1), half, progress)
        return torch.einsum("bchw,c->bhw", colours, colours.new_tensor(_LUMA))[:, None]

    def _size(self, image: Tensor) -> tuple[int, int]:
        return self.model.scale * image.shape[2], self.model.scale * image.shape[3]

    def _run(self, image: Tensor, half: torch.dtype | None, progress: Progress | None) -> Tensor:
        forward = _Forward(self.model, self.device, half)
        tile = self.tile_for(*image.shape[-2:], batch=image.shape[0])
        try:
            out = forward_tiled(forward, image, self.model.scale, tile, self.tile_pad, progress)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            out = None
        if out is None:  # outside the handler, whose traceback would keep the tensors alive
            smaller = AUTO_TILE if self.tile == "auto" and tile == 0 else None
            if smaller is None or max(image.shape[-2:]) <= smaller:
                size = f"{image.shape[3]}x{image.shape[2]} pixels" if tile == 0 else f"tiles of {tile} pixels"
                raise LAMNetError(f"out of memory on {self.device} with {size}; take smaller tiles")
            warnings.warn(
                f"out of memory with the whole image: done in tiles of {smaller}", RuntimeWarning, stacklevel=2
            )
            out = forward_tiled(forward, image, self.model.scale, smaller, self.tile_pad, progress)
        if forward.overflowed:
            warnings.warn(f"{str(half)[6:]} overflowed: done again in float32", RuntimeWarning, stacklevel=2)
        return out.clamp_(0, 1).to(image.dtype)


class _Forward:
    """One forward pass, taken again in the network's own type where half precision gives non-finite values."""

    def __init__(self, model: nn.Module, device: torch.device, half: torch.dtype | None) -> None:
        self.model = model
        self.device = device
        self.half = half
        self.dtype = next((parameter.dtype for parameter in model.parameters()), torch.float32)
        self.overflowed = False

    def __call__(self, image: Tensor) -> Tensor:
        image = image.to(self.device, self.dtype)
        if self.half:
            with torch.autocast(self.device.type, self.half):
                out = self.model(image)
            if out.isfinite().all():
                return out.float()
            self.overflowed = True
        out = self.model(image)
        if not out.isfinite().all():
            raise LAMNetError("the network's result is not finite; its weights are damaged or do not fit")
        return out.to(torch.promote_types(out.dtype, torch.float32))


def resolve_device(device: torch.device | str) -> torch.device:
    """Returns a device that is there: the named one, or for ``"auto"`` the first of CUDA, Apple's MPS and the CPU.

    Raises:
        ValueError: If there is no such device.
    """
    accelerators = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if device == "auto":
        device = next((name for name, is_available in accelerators.items() if is_available()), "cpu")
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:  # the latter from a torch built without CUDA
        names = ["auto", "cpu", *(name for name, is_available in accelerators.items() if is_available())]
        raise ValueError(
            f"device is {str(device)!r}, but on this machine it must be one of {', '.join(names)}"
        ) from error


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _part_of(progress: Progress, index: int, parts: int) -> Progress:
    return lambda done, total: progress(index * total + done, parts * total)


def _is_out_of_memory(error: RuntimeError) -> bool:
    return any(phrase in str(error).lower() for phrase in _OUT_OF_MEMORY)
