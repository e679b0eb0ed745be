"""Run a network on images of any size, with tiling and out-of-memory fallback."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import LAMNetError
from .exact import forward_exact
from .pixels import Pixels
from .precision import Autocast
from .scratch import scratch_folder
from .strategy import TilePlan, TilePlanner
from .tiling import Progress, forward_tiled
from .transparency import fill_transparent

PRECISIONS = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}
"""Autocast dtypes by name; None: the network's own dtype."""

DTYPE_NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.float64: "fp64"}
"""Names of the dtypes of networks and autocast."""

_TOLERANCE = 1e-3
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass(frozen=True)
class Inference:
    """A network with its device and tile planner.

    Attributes:
        model: A network on (B, C, H, W) with attributes ``scale`` and ``in_chans``.
        device: The network's device.
        planner: Chooses the tile plan of each image.
    """

    model: nn.Module
    device: torch.device
    planner: TilePlanner

    @torch.no_grad()
    def upscale(
        self, source: Pixels, half: torch.dtype | None = None, progress: Progress | None = None
    ) -> tuple[Pixels, TilePlan]:
        """Upscale images, including alpha.

        Args:
            source: (B, C, H, W), in [0, 1] if floating-point. C is the network's ``in_chans`` or, if that is 1 or 3,
                at most 4; the last of 2 or 4 channels is alpha.
            half: Autocast dtype; None: the network's own dtype.
            progress: Called after each tile with the number of tiles done and their total.

        Returns:
            The result, (B, C, scale·H, scale·W) with the dtype and device of ``source``, in memory or, if memory is
            short, in a temporary file deleted with it; and the plan that ran.

        Raises:
            ValueError: If the values are out of range or the number of channels does not fit.
            LAMNetError: If memory is short or the result is not finite.
        """
        if source.data.is_floating_point():
            low, high = (bound.item() for bound in source.data.aminmax())
            if not -_TOLERANCE <= low <= high <= 1 + _TOLERANCE:  # also rejects NaN
                raise ValueError(f"image must have values in [0, 1], got values from {low:g} to {high:g}")
        channels, in_chans = source.shape[1], self.model.in_chans
        if channels != in_chans and not (channels <= 4 and in_chans in (1, 3)):
            raise ValueError(f"image must have the model's {in_chans} channels, got {channels} channels")
        plans = self.planner.plans(source.shape, source.data.dtype.itemsize)
        plan = next(plans)
        if files := plan.in_files:
            sizes = " and ".join(f"{name} ({size / 1e9:.2f} GB)" for name, size in files.items())
            warnings.warn(
                f"memory is short: {sizes} stored temporarily in {scratch_folder()}", RuntimeWarning, stacklevel=2
            )
        out = source.empty_upscaled(self.model.scale, plan.result_in_file)
        parts = _split_alpha(source, out, in_chans)
        with _eval_mode(self.model):
            for index, (part, into) in enumerate(parts):
                part_progress = progress and _partial_progress(progress, index, len(parts))
                plan = self._run(part, into, plan, plans, half, part_progress)
        return out, plan

    def _run(
        self,
        source: Pixels,
        out: Pixels,
        plan: TilePlan,
        fallbacks: Iterator[TilePlan],
        half: torch.dtype | None,
        progress: Progress | None,
    ) -> TilePlan:
        """Run a plan, or its fallbacks when out of memory; return the plan that succeeded."""
        dtype = next((parameter.dtype for parameter in self.model.parameters()), torch.float32)
        autocast = Autocast(self.device, dtype, half)
        while not self._attempt(autocast, source, out, plan, progress):
            if (smaller := next(fallbacks, None)) is None:
                size = f"{source.shape[3]}x{source.shape[2]} pixels" if plan.mode.tile == 0 else plan.mode
                raise LAMNetError(f"out of memory on {self.device} with {size}; use smaller tiles")
            warnings.warn(f"out of memory with {plan.mode}: using {smaller.mode}", RuntimeWarning, stacklevel=3)
            plan = smaller
        if autocast.overflowed:
            warnings.warn(f"{str(half)[6:]} overflowed: recomputed in float32", RuntimeWarning, stacklevel=3)
        return plan

    def _attempt(
        self, autocast: Autocast, source: Pixels, out: Pixels, plan: TilePlan, progress: Progress | None
    ) -> bool:
        """Run a plan; return False if memory ran out."""
        tile = plan.mode.tile
        try:
            if plan.mode.is_exact:
                in_file = plan.features_in_file
                forward_exact(self.model, source, out, autocast, tile=tile, in_file=in_file, progress=progress)
            else:

                def forward(image: Tensor) -> Tensor:
                    return autocast.check(autocast(self.model, image))

                forward_tiled(forward, source, out, self.model.scale, tile, self.planner.tile_pad, progress)
            return True
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            return False  # the retry runs outside this handler, whose traceback would keep the tensors alive


def _split_alpha(source: Pixels, out: Pixels, in_chans: int) -> list[tuple[Pixels, Pixels]]:
    """Return pairs of network input and output: color and, unless it is constant, alpha."""
    channels = source.shape[1]
    if channels == in_chans or channels in (1, 3):
        return [_match_channels(source, out, in_chans)]
    color, alpha = (slice(None, -1), slice(-1, None))
    alpha_values = source.channels(alpha).read()
    if bool((alpha_values == alpha_values.flatten()[0]).all()):
        out.data[:, alpha] = source.data[0, -1, 0, 0]
        return [_match_channels(source.channels(color), out.channels(color), in_chans)]
    filled = Pixels(fill_transparent(source.channels(color).read(), alpha_values))
    return [
        _match_channels(filled, out.channels(color), in_chans),
        _match_channels(source.channels(alpha), out.channels(alpha), in_chans),
    ]


def _match_channels(source: Pixels, out: Pixels, in_chans: int) -> tuple[Pixels, Pixels]:
    channels = source.shape[1]
    if channels > in_chans:  # each channel as a separate image
        return source.split_channels(), out.split_channels()
    return (source, out) if channels == in_chans else (source.repeat_channels(in_chans), out.as_luma())


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _partial_progress(progress: Progress, index: int, parts: int) -> Progress:
    return lambda done, total: progress(index * total + done, parts * total)


def _is_out_of_memory(error: RuntimeError) -> bool:
    return any(phrase in str(error).lower() for phrase in _OUT_OF_MEMORY)
