"""Random patches: which, decided by seed, step and index alone, and cut out in one gather."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .store import Store

CANDIDATES = 4
"""Random candidates per textured patch."""

_UNIFORM_EVERY = 4
_LUMA = (66, 129, 25)  # integer BT.601 weights: texture is exact and the same on every machine


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
    return Picks(*_positions(sizes, patch, random[:, :3]), (random[:, 3] * 8).astype(np.int64))


def pick_textured(store: Store, patch: int, indices: range, seed: int, step: int) -> Picks:
    """Picks some patches of one step, preferring texture.

    Index i is uniform, as in [`pick`], if ``(step + i) % 4 == 0``. Otherwise it is the most textured of four uniform
    candidates, of which the first is the one of [`pick`]. It depends on (seed, step, i) and the images alone.

    Args:
        store: The images, in main memory.
        patch: Side of the patches in LR pixels.
        indices: Consecutive indices of the patches within the step.
        seed: Seed of the run.
        step: Number of the step.
    """
    own = slice(indices.start, indices.stop)
    picks = pick(store.sizes, patch, indices.stop, seed, step).part(own.start, own.stop)
    chosen = np.flatnonzero((step + np.arange(indices.start, indices.stop)) % _UNIFORM_EVERY)
    random = np.random.Generator(np.random.Philox(key=seed, counter=(1 << 192) | (step << 64)))
    others = random.random((indices.stop, 3 * (CANDIDATES - 1)))[own][chosen].reshape(-1, 3)
    candidates = [  # image, top, left: (patches, candidates)
        np.column_stack([first[chosen], other.reshape(-1, CANDIDATES - 1)])
        for first, other in zip(
            (picks.image, picks.top, picks.left), _positions(store.sizes, patch, others), strict=True
        )
    ]
    texture = _texture(store, patch, *(values.ravel() for values in candidates)).reshape(-1, CANDIDATES)
    best = texture.argmax(axis=1)[:, None]
    image, top, left = picks.image.copy(), picks.top.copy(), picks.left.copy()
    for values, candidate in zip((image, top, left), candidates, strict=True):
        values[chosen] = np.take_along_axis(candidate, best, axis=1)[:, 0]
    return Picks(image, top, left, picks.turn)


def _positions(sizes: np.ndarray, patch: int, random: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns image, top and left of patches, uniform over all positions, from (n, 3) numbers in [0, 1)."""
    positions = sizes - patch + 1
    bounds = np.cumsum(positions.prod(axis=1))
    image = np.searchsorted(bounds, random[:, 0] * bounds[-1], side="right").clip(max=len(sizes) - 1)
    top, left = (random[:, 1:] * positions[image]).astype(np.int64).T
    return image, top, left


def _texture(store: Store, patch: int, image: np.ndarray, top: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Returns the sums of absolute luma differences between neighboring LR pixels, (n,) int64."""
    pixels = store.lr.numpy()
    patches = np.empty((len(image), patch, patch, 3), np.uint8)
    widths = store.sizes[image, 1]
    for index, (first, width) in enumerate(zip(store.starts[image] + top * widths, widths, strict=True)):
        rows = pixels[first : first + patch * width].reshape(patch, width, 3)
        patches[index] = rows[:, left[index] : left[index] + patch]
    luma = sum(patches[..., channel] * np.int32(weight) for channel, weight in enumerate(_LUMA))
    return sum(np.abs(np.diff(luma, axis=axis)).sum(axis=(1, 2), dtype=np.int64) for axis in (1, 2))


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


def cut_targets(store: Store, picks: Picks, patch: int) -> Tensor:
    """Cuts teacher targets out of a store, flipped and rotated as by [`cut`].

    Returns:
        The HR patches of the teacher's outputs, (B, 3, s·patch, s·patch), in [0, 1], float32, on the store's device.
    """
    widths = store.sizes[picks.image, 1]
    return _gather(store.targets, store.starts[picks.image], widths, picks, patch, store.scale)


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
