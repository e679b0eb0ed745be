"""A network at work on images of any size and number of channels: where, in what type, in which pieces."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import LAMNetError
from ..lamnet import LAMNet
from .exact import EXACT_TILES, forward_exact
from .memory import available_memory, forward_memory
from .tiling import Progress, forward_tiled
from .transparency import fill_transparent

AUTO_TILE = 256
"""Side of the tiles that an image too large for the memory is cut into by networks that have no exact tiles: always the
same, so that pixels depend on that choice alone and not on how much memory there was."""

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
        tile: Side of the tiles; 0 for the whole image, ``"exact"`` for tiles with the whole image's result, ``"auto"``
            for the whole where memory allows, and otherwise exact tiles, or overlapped ones for other networks.
        tile_pad: Pixels around a tile that are run with it.
    """

    model: nn.Module
    device: torch.device
    tile: int | str
    tile_pad: int

    def tile_for(self, height: int, width: int, batch: int = 1) -> int | str:
        """Returns the side of the tiles that images of this size are cut into now, or ``"exact"``; 0 is the whole."""
        tile = self.tile
        if tile == "auto":
            if forward_memory(self.model, batch * height * width) <= 0.8 * available_memory(self.device):
                return 0
            tile = "exact" if self._is_exact else AUTO_TILE
        return tile if tile == "exact" or max(height, width) > tile else 0

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
        tile, *fallbacks = self._ways(image)
        while (out := self._attempt(forward, image, tile, progress)) is None:
            if not fallbacks:
                size = f"{image.shape[3]}x{image.shape[2]} pixels" if tile == 0 else _way(tile)
                raise LAMNetError(f"out of memory on {self.device} with {size}; take smaller tiles")
            warnings.warn(
                f"out of memory with {_way(tile)}: done in {_way(fallbacks[0])}", RuntimeWarning, stacklevel=2
            )
            tile, *fallbacks = fallbacks
        if forward.overflowed:
            warnings.warn(f"{str(half)[6:]} overflowed: done again in float32", RuntimeWarning, stacklevel=2)
        return out.clamp_(0, 1).to(image.dtype)

    def _ways(self, image: Tensor) -> list[int | _Exactly]:
        """Returns how to cut an image into tiles, and then what to do where memory runs out all the same."""
        tile = self.tile_for(*image.shape[-2:], batch=image.shape[0])
        exact = [_Exactly(side) for side in EXACT_TILES]
        if tile == "exact":
            return exact
        if self.tile == "auto" and tile == 0:
            smaller = exact if self._is_exact else [AUTO_TILE]
            return [0, *(way for way in smaller if max(image.shape[-2:]) > (way if way == AUTO_TILE else way.side))]
        return [tile]

    @property
    def _is_exact(self) -> bool:
        return isinstance(self.model, LAMNet)

    def _attempt(
        self, forward: _Forward, image: Tensor, tile: int | _Exactly, progress: Progress | None
    ) -> Tensor | None:
        """Returns the enlarged image, or None if the memory was too small."""
        try:
            if not isinstance(tile, _Exactly):
                return forward_tiled(forward, image, self.model.scale, tile, self.tile_pad, progress)
            source = image.cpu()
            out = forward.checked(
                lambda half: forward_exact(
                    self.model, source, self.device, tile=tile.side, half=half, progress=progress
                )
            )
            return out.to(image.device)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            return None  # and not from here on: the traceback would keep the tensors alive


@dataclass(frozen=True)
class _Exactly:
    """Exact tiles of at most so many pixels."""

    side: int


def _way(tile: int | _Exactly) -> str:
    if isinstance(tile, _Exactly):
        return f"exact tiles of {tile.side} pixels"
    return f"tiles of {tile} pixels" if tile else "the whole image"


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

        def compute(half: torch.dtype | None) -> Tensor:
            with torch.autocast(self.device.type, half) if half else nullcontext():
                return self.model(image)

        return self.checked(compute)

    def checked(self, compute: Callable[[torch.dtype | None], Tensor]) -> Tensor:
        """Returns what ``compute`` makes in half precision, or, where that is not finite, in the network's own type."""
        if self.half:
            out = compute(self.half)
            if out.isfinite().all():
                return out.float()
            self.overflowed = True
        out = compute(None)
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
