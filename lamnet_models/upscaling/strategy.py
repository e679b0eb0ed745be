"""Which way to go about an image: as asked for, and as memory allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import LAMNetError
from ..lamnet import LAMNet
from .exact import EXACT_TILES
from .footprint import MemoryEstimate, TilingMode, estimate_memory
from .memory import RESERVE, available_memory, format_memory, host_memory, used_memory

AUTO_TILE = 256
"""Side of the tiles that an image too large for the memory is cut into by networks that have no exact tiles: always the
same, so that pixels depend on that choice alone and not on how much memory there was."""


@dataclass(frozen=True)
class TilePlan:
    """A way, and what of it lies in temporary files instead of memory.

    Attributes:
        mode: The mode.
        need: What it takes.
        features_in_file: Whether features do.
        result_in_file: Whether the enlarged pixels do.
    """

    mode: TilingMode
    need: MemoryEstimate
    features_in_file: bool = False
    result_in_file: bool = False

    @property
    def in_files(self) -> dict[str, int]:
        """Names and bytes of what lies in files."""
        kept = {"features": self.features_in_file and self.need.features}
        kept["the result"] = self.result_in_file and self.need.result
        return {name: size for name, size in kept.items() if size}


@dataclass(frozen=True)
class TilePlanner:
    """Chooses ways.

    Attributes:
        model: The network.
        device: Where it computes.
        tile: Side of the tiles; 0, ``"exact"`` or ``"auto"``: see ``Upscaler``.
        tile_pad: Pixels around a tile that are run with it.
        max_memory: Most bytes of memory that the process may have; None for no limit.
    """

    model: nn.Module
    device: torch.device
    tile: int | str
    tile_pad: int
    max_memory: int | None = None

    def plans(self, shape: Sequence[int], itemsize: int = 1) -> Iterator[TilePlan]:
        """Yields how to go about images now, and then what to do where memory runs out all the same.

        Args:
            shape: (B, C, H, W) of the images.
            itemsize: Bytes of one value.

        Raises:
            LAMNetError: If no way keeps to ``max_memory``.
        """
        modes = self._modes(max(shape[2:]))
        while modes:
            plan, *modes = self._plan(modes[0], shape, itemsize), *modes[1:]
            # Files are for what has to be in tiles in any case.
            if not modes or (self._fits(plan) and (plan.mode.tile or not plan.in_files)):
                break
            if self.max_memory is None and plan.mode.tile:  # none fits, as far as is known: the largest is quickest
                break
        if self.max_memory is not None and self.max_memory < (minimum := self._min_memory(plan)):
            advice = "" if self.tile in ("auto", "exact") else "; take exact tiles"
            raise LAMNetError(
                f"max_memory is {format_memory(self.max_memory)}, but {shape[3]}x{shape[2]} pixels in {plan.mode} take "
                f"{format_memory(minimum)}{advice}"
            )
        yield plan
        for mode in modes:
            yield self._plan(mode, shape, itemsize)

    def min_memory(self) -> int:
        """Returns the bytes without which not even a small image can be enlarged."""
        side = EXACT_TILES[-1]
        need = estimate_memory(
            self.model, TilingMode(side, self._is_exact), (1, self.model.in_chans, side, side), 1, self.tile_pad
        )
        return self._min_memory(TilePlan(TilingMode(), need, True, True))

    def _modes(self, side: int) -> list[TilingMode]:
        exact = [TilingMode(tile, is_exact=True) for tile in EXACT_TILES]
        if self.tile == "exact":
            return exact
        if self.tile == "auto":
            smaller = exact if self._is_exact else [TilingMode(AUTO_TILE)]
            return [TilingMode(), *(mode for mode in smaller if side > mode.tile)]
        return [TilingMode(self.tile if side > self.tile else 0)]

    def _plan(self, mode: TilingMode, shape: Sequence[int], itemsize: int) -> TilePlan:
        need = estimate_memory(self.model, mode, tuple(shape), itemsize, self.tile_pad)
        plans = (TilePlan(mode, need), TilePlan(mode, need, False, True), TilePlan(mode, need, True, True))
        return next((plan for plan in plans if self._over(plan) <= 0), plans[-1])

    def _fits(self, plan: TilePlan) -> bool:
        fits_device = self._computes_on_host or plan.need.compute <= 0.8 * available_memory(self.device)
        return fits_device and self._over(plan) <= 0

    def _min_memory(self, plan: TilePlan) -> int:
        """Returns the limit of the process's memory that a plan keeps to."""
        return used_memory() + RESERVE + self._host(plan)

    def _over(self, plan: TilePlan) -> float:
        """Returns the bytes that a plan takes beyond what there is in the host's memory."""
        return self._host(plan) - host_memory(self.max_memory)

    def _host(self, plan: TilePlan) -> int:
        return plan.need.host(self._computes_on_host, plan.features_in_file, plan.result_in_file)

    @property
    def _computes_on_host(self) -> bool:
        return self.device.type == "cpu"

    @property
    def _is_exact(self) -> bool:
        return isinstance(self.model, LAMNet)
