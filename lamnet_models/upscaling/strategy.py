"""Tile plan selection under a memory limit."""

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
"""Tile side for large images with networks that do not support exact tiles. It is fixed, so that tiled results do not
depend on the amount of free memory."""


@dataclass(frozen=True)
class TilePlan:
    """A tiling mode and what is stored in temporary files instead of memory.

    Attributes:
        mode: Tiling mode.
        estimate: Memory estimate of the mode.
        features_in_file: Whether features are stored in a file.
        result_in_file: Whether the SR pixels are stored in a file.
    """

    mode: TilingMode
    estimate: MemoryEstimate
    features_in_file: bool = False
    result_in_file: bool = False

    @property
    def tile_option(self) -> int | str:
        """Value of the argument ``tile`` that selects this plan: 0, a side in pixels, or ``"exact"``."""
        return "exact" if self.mode.is_exact else self.mode.tile

    @property
    def in_files(self) -> dict[str, int]:
        """Names and bytes of the data stored in files."""
        files = {"features": self.features_in_file and self.estimate.features}
        files["result"] = self.result_in_file and self.estimate.result
        return {name: size for name, size in files.items() if size}


@dataclass(frozen=True)
class TilePlanner:
    """Selection of tile plans for images.

    Attributes:
        model: The network.
        device: The network's device.
        tile: Side of the tiles, 0, ``"exact"`` or ``"auto"``, see ``Upscaler``.
        tile_pad: Pixels of padding around a tile.
        max_memory: Limit of the process's memory in bytes; None: no limit.
    """

    model: nn.Module
    device: torch.device
    tile: int | str
    tile_pad: int
    max_memory: int | None = None

    def plans(self, shape: Sequence[int], itemsize: int = 1) -> Iterator[TilePlan]:
        """Yield the plan for the current free memory, then fallbacks for an out-of-memory error.

        Args:
            shape: (B, C, H, W) of the images.
            itemsize: Bytes per value.

        Raises:
            LAMNetError: If every plan exceeds ``max_memory``.
        """
        modes = self._modes(max(shape[2:]))
        while modes:
            plan, *modes = self._plan(modes[0], shape, itemsize), *modes[1:]
            # Tiles in memory are preferred to the whole image with its result in a file.
            if not modes or (self._fits(plan) and (plan.mode.tile or not plan.in_files)):
                break
            if self.max_memory is None and plan.mode.tile:  # none may fit: the largest tiles are the fastest
                break
        if self.max_memory is not None and self.max_memory < (minimum := self._min_memory(plan)):
            advice = "" if self.tile in ("auto", "exact") else "; use exact tiles"
            raise LAMNetError(
                f"max_memory must be at least {format_memory(minimum)} for {shape[3]}x{shape[2]} pixels in "
                f"{plan.mode}, got {format_memory(self.max_memory)}{advice}"
            )
        yield plan
        for mode in modes:
            yield self._plan(mode, shape, itemsize)

    def min_memory(self) -> int:
        """Return the process memory in bytes needed for an image of the smallest exact tile size."""
        side = EXACT_TILES[-1]
        estimate = estimate_memory(
            self.model, TilingMode(side, self._supports_exact), (1, self.model.in_chans, side, side), 1, self.tile_pad
        )
        return self._min_memory(TilePlan(TilingMode(), estimate, True, True))

    def _modes(self, side: int) -> list[TilingMode]:
        exact = [TilingMode(tile, is_exact=True) for tile in EXACT_TILES]
        if self.tile == "exact":
            return exact
        if self.tile == "auto":
            smaller = exact if self._supports_exact else [TilingMode(AUTO_TILE)]
            return [TilingMode(), *(mode for mode in smaller if side > mode.tile)]
        return [TilingMode(self.tile if side > self.tile else 0)]

    def _plan(self, mode: TilingMode, shape: Sequence[int], itemsize: int) -> TilePlan:
        estimate = estimate_memory(self.model, mode, tuple(shape), itemsize, self.tile_pad)
        plans = (TilePlan(mode, estimate), TilePlan(mode, estimate, False, True), TilePlan(mode, estimate, True, True))
        return next((plan for plan in plans if self._excess(plan) <= 0), plans[-1])

    def _fits(self, plan: TilePlan) -> bool:
        fits_device = self._computes_on_host or plan.estimate.compute <= 0.8 * available_memory(self.device)
        return fits_device and self._excess(plan) <= 0

    def _min_memory(self, plan: TilePlan) -> int:
        """Return the smallest ``max_memory`` in bytes under which a plan runs."""
        return used_memory() + RESERVE + self._host(plan)

    def _excess(self, plan: TilePlan) -> float:
        """Return the bytes by which a plan exceeds the free host memory."""
        return self._host(plan) - host_memory(self.max_memory)

    def _host(self, plan: TilePlan) -> int:
        return plan.estimate.host(self._computes_on_host, plan.features_in_file, plan.result_in_file)

    @property
    def _computes_on_host(self) -> bool:
        return self.device.type == "cpu"

    @property
    def _supports_exact(self) -> bool:
        return isinstance(self.model, LAMNet)
