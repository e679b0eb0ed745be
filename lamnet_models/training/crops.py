"""Random patches: which, decided by seed, step and index alone, and cut out in one gather."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .store import Store


@dataclass(frozen=True)
class Picks:
    """Which patches to cut; arrays of one number for each patch.

    Attributes:
        image: Index of the image.
        top: First row in the reduction.
        left: First column in the reduction.
        turn: 0 to 7: the flip and rotation, bit 0 swaps rows and columns, bits 1 and 2 reverse them.
    """

    image: np.ndarray
    top: np.ndarray
    left: np.ndarray
    turn: np.ndarray

    def part(self, start: int, stop: int) -> Picks:
        """Returns those from one index to another."""
        return Picks(*(values[start:stop] for values in (self.image, self.top, self.left, self.turn)))


def pick(sizes: np.ndarray, patch: int, batch: int, seed: int, step: int) -> Picks:
    """Picks the patches of one step: every position of every image is as likely as any other.

    The i-th depends on (seed, step, i) and not on ``batch``: however the indices of a step are shared out among
    processes, they make the same patches.

    Args:
        sizes: Height and width of each reduction, (n, 2), none below ``patch``.
        patch: Side of the patches in pixels of the reductions.
        batch: Number of patches.
        seed: Of the run.
        step: Number of the step.
    """
    random = np.random.Generator(np.random.Philox(key=seed, counter=step << 64)).random((batch, 4))
    positions = sizes - patch + 1
    bounds = np.cumsum(positions.prod(axis=1))
    image = np.searchsorted(bounds, random[:, 0] * bounds[-1], side="right").clip(max=len(sizes) - 1)
    top, left = (random[:, 1:3] * positions[image]).astype(np.int64).T
    return Picks(image, top, left, (random[:, 3] * 8).astype(np.int64))


def cut(store: Store, picks: Picks, patch: int) -> tuple[Tensor, Tensor]:
    """Cuts patches out of a store, turned.

    Args:
        store: The images.
        picks: Which patches.
        patch: Their side in pixels of the reductions.

    Returns:
        The reduced patches, (B, 3, patch, patch), and the large ones, (B, 3, s·patch, s·patch), in [0, 1], float32, on
        the store's device.
    """
    starts = store.starts[picks.image]
    widths = store.sizes[picks.image, 1]
    return (
        _gather(store.lr, starts, widths, picks, patch, 1),
        _gather(store.hr, starts, widths, picks, patch, store.scale),
    )


def _gather(pixels: Tensor, starts: np.ndarray, widths: np.ndarray, picks: Picks, patch: int, scale: int) -> Tensor:
    def column(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(pixels.device).view(-1, 1, 1)

    side = patch * scale
    line = torch.arange(side, device=pixels.device)
    turn = column(picks.turn)
    rows, columns = line.view(1, -1, 1), line.view(1, 1, -1)
    swapped = (turn & 1).bool()
    rows, columns = torch.where(swapped, columns, rows), torch.where(swapped, rows, columns)
    rows = torch.where((turn & 2).bool(), side - 1 - rows, rows)
    columns = torch.where((turn & 4).bool(), side - 1 - columns, columns)
    first = column(starts * scale**2 + picks.top * scale * widths * scale + picks.left * scale)
    index = first + rows * column(widths * scale) + columns
    return pixels[index.flatten()].view(*index.shape, 3).permute(0, 3, 1, 2).float().div_(255)
