"""A network at work on images of any size and number of channels: where, in what type, in which pieces."""

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
"""Types to compute in by name; None is the network's own."""

_TOLERANCE = 1e-3
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass(frozen=True)
class Inference:
    """A network and how it is run.

    Attributes:
        model: A network on (B, C, H, W) with attributes ``scale`` and ``in_chans``.
        device: Where it is.
        planner: Which pieces images are cut into.
    """

    model: nn.Module
    device: torch.device
    planner: TilePlanner

    @torch.no_grad()
    def upscale(self, source: Pixels, half: torch.dtype | None = None, progress: Progress | None = None) -> Pixels:
        """Enlarges images, alpha and all.

        Args:
            source: (B, C, H, W), in [0, 1] where they are floating-point. C is what the network has or, where that is 1
                or 3, up to 4, the last of 2 and 4 being alpha.
            half: Type of autocast; None for the network's own type.
            progress: Called after each step with the steps done and all steps.

        Returns:
            (B, C, scale·H, scale·W), of the type and on the device of ``source``, in memory or, where that is short, in
            a temporary file that goes with them.
        """
        if source.data.is_floating_point():
            low, high = (bound.item() for bound in source.data.aminmax())
            if not -_TOLERANCE <= low <= high <= 1 + _TOLERANCE:  # no comparison holds for what is not a number
                raise ValueError(f"image has values from {low:g} to {high:g}, but they must be in [0, 1]")
        channels, wanted = source.shape[1], self.model.in_chans
        if channels != wanted and not (channels <= 4 and wanted in (1, 3)):
            raise ValueError(f"image has {channels} channels, but the model has {wanted}")
        plans = self.planner.plans(source.shape, source.data.dtype.itemsize)
        plan = next(plans)
        if kept := plan.in_files:
            sizes = " and ".join(f"{name}, {size / 1e9:.2f} GB" for name, size in kept.items())
            warnings.warn(
                f"memory is short: {sizes}, kept in {scratch_folder()} meanwhile", RuntimeWarning, stacklevel=2
            )
        out = source.empty_upscaled(self.model.scale, plan.result_in_file)
        parts = _split_alpha(source, out, wanted)
        with _eval_mode(self.model):
            for index, (part, into) in enumerate(parts):
                following = progress and _partial_progress(progress, index, len(parts))
                plan = self._run(part, into, plan, plans, half, following)
        return out

    def _run(
        self,
        source: Pixels,
        out: Pixels,
        plan: TilePlan,
        fallbacks: Iterator[TilePlan],
        half: torch.dtype | None,
        progress: Progress | None,
    ) -> TilePlan:
        """Returns the plan that it ended with."""
        dtype = next((parameter.dtype for parameter in self.model.parameters()), torch.float32)
        autocast = Autocast(self.device, dtype, half)
        while not self._attempt(autocast, source, out, plan, progress):
            if (smaller := next(fallbacks, None)) is None:
                size = f"{source.shape[3]}x{source.shape[2]} pixels" if plan.mode.tile == 0 else plan.mode
                raise LAMNetError(f"out of memory on {self.device} with {size}; take smaller tiles")
            warnings.warn(f"out of memory with {plan.mode}: done in {smaller.mode}", RuntimeWarning, stacklevel=3)
            plan = smaller
        if autocast.overflowed:
            warnings.warn(f"{str(half)[6:]} overflowed: done again in float32", RuntimeWarning, stacklevel=3)
        return plan

    def _attempt(
        self, autocast: Autocast, source: Pixels, out: Pixels, plan: TilePlan, progress: Progress | None
    ) -> bool:
        """Returns whether the memory was large enough."""
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
            return False  # and not from here on: the traceback would keep the tensors alive


def _split_alpha(source: Pixels, out: Pixels, wanted: int) -> list[tuple[Pixels, Pixels]]:
    """Returns what a network of so many channels is to run over, and what takes the results."""
    channels = source.shape[1]
    if channels == wanted or channels in (1, 3):
        return [_match_channels(source, out, wanted)]
    colours, alpha = (slice(None, -1), slice(-1, None))
    seen = source.channels(alpha).read()
    if bool((seen == seen.flatten()[0]).all()):
        out.data[:, alpha] = source.data[0, -1, 0, 0]
        return [_match_channels(source.channels(colours), out.channels(colours), wanted)]
    filled = Pixels(fill_transparent(source.channels(colours).read(), seen))
    return [
        _match_channels(filled, out.channels(colours), wanted),
        _match_channels(source.channels(alpha), out.channels(alpha), wanted),
    ]


def _match_channels(source: Pixels, out: Pixels, wanted: int) -> tuple[Pixels, Pixels]:
    channels = source.shape[1]
    if channels > wanted:  # each channel by itself
        return source.split_channels(), out.split_channels()
    return (source, out) if channels == wanted else (source.repeat_channels(wanted), out.as_luma())


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
