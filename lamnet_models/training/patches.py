"""Random training patches: sampled by (seed, step, index), extracted in one gather."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..degradation import PhotoDegradation
from .images import Store

CANDIDATES = 4
"""Random candidates per textured patch."""

_UNIFORM_EVERY = 4
_MARGIN = 16  # LR pixels around a patch that are degraded with it: a block of JPEG
_LUMA = (66, 129, 25)  # integer BT.601 weights: the texture is exact and the same on every machine


@dataclass(frozen=True)
class PatchSamples:
    """Positions and transforms of patches, each an array of shape (n,).

    Attributes:
        image: Index of the image.
        top: First row in the LR image.
        left: First column in the LR image.
        transform: Flip and rotation, 0 to 7. Bit 1 reverses the rows, bit 2 the columns, bit 0 then swaps both.
    """

    image: np.ndarray
    top: np.ndarray
    left: np.ndarray
    transform: np.ndarray

    def slice(self, start: int, stop: int) -> PatchSamples:
        """Return the patches from index ``start`` to ``stop``, exclusive."""
        return PatchSamples(*(values[start:stop] for values in (self.image, self.top, self.left, self.transform)))


def sample_patches(sizes: np.ndarray, patch: int, batch: int, seed: int, step: int) -> PatchSamples:
    """Sample the patches of one step, uniformly over all positions of all images.

    Patch i depends on (seed, step, i) alone, so any division of a step among processes gives the same patches.

    Args:
        sizes: Height and width of each LR image, (n, 2), at least ``patch``.
        patch: Side of the patches in LR pixels.
        batch: Number of patches.
        seed: Seed of the run.
        step: Number of the step.
    """
    random = np.random.Generator(np.random.Philox(key=seed, counter=step << 64)).random((batch, 4))
    return PatchSamples(*_positions(sizes, patch, random[:, :3]), (random[:, 3] * 8).astype(np.int64))


def sample_textured_patches(store: Store, patch: int, indices: range, seed: int, step: int) -> PatchSamples:
    """Sample some patches of one step, preferring texture.

    Patch i is that of [`sample_patches`] if ``(step + i) % 4 == 0``, otherwise the most textured of four uniform
    candidates, the first of which is that of [`sample_patches`]. It depends on (seed, step, i) and the images alone.

    Args:
        store: Training images in main memory.
        patch: Side of the patches in LR pixels.
        indices: Consecutive indices of the patches within the step.
        seed: Seed of the run.
        step: Number of the step.
    """
    start, stop = indices.start, indices.stop
    samples = sample_patches(store.sizes, patch, stop, seed, step).slice(start, stop)
    textured = np.flatnonzero((step + np.arange(start, stop)) % _UNIFORM_EVERY)
    generator = np.random.Generator(np.random.Philox(key=seed, counter=(1 << 192) | (step << 64)))
    random = generator.random((stop, 3 * (CANDIDATES - 1)))[start:stop][textured].reshape(-1, 3)
    candidates = [  # image, top, left: (patches, candidates)
        np.column_stack([first[textured], rest.reshape(-1, CANDIDATES - 1)])
        for first, rest in zip(
            (samples.image, samples.top, samples.left), _positions(store.sizes, patch, random), strict=True
        )
    ]
    texture = _texture(store, patch, *(values.ravel() for values in candidates)).reshape(-1, CANDIDATES)
    best = texture.argmax(axis=1)[:, None]
    image, top, left = samples.image.copy(), samples.top.copy(), samples.left.copy()
    for values, candidate in zip((image, top, left), candidates, strict=True):
        values[textured] = np.take_along_axis(candidate, best, axis=1)[:, 0]
    return PatchSamples(image, top, left, samples.transform)


def _positions(sizes: np.ndarray, patch: int, random: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Map (n, 3) random numbers in [0, 1) to image, top and left, uniform over all positions."""
    positions = sizes - patch + 1
    bounds = np.cumsum(positions.prod(axis=1))
    image = np.searchsorted(bounds, random[:, 0] * bounds[-1], side="right").clip(max=len(sizes) - 1)
    top, left = (random[:, 1:] * positions[image]).astype(np.int64).T
    return image, top, left


def _texture(store: Store, patch: int, image: np.ndarray, top: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Return the sums of absolute luma differences between neighboring LR pixels, (n,) int64."""
    pixels = store.lr.numpy()
    patches = np.empty((len(image), patch, patch, 3), np.uint8)
    widths = store.sizes[image, 1]
    for index, (first, width) in enumerate(zip(store.starts[image] + top * widths, widths, strict=True)):
        rows = pixels[first : first + patch * width].reshape(patch, width, 3)
        patches[index] = rows[:, left[index] : left[index] + patch]
    luma = sum(patches[..., channel] * np.int32(weight) for channel, weight in enumerate(_LUMA))
    return sum(np.abs(np.diff(luma, axis=axis)).sum(axis=(1, 2), dtype=np.int64) for axis in (1, 2))


def extract_patches(store: Store, samples: PatchSamples, patch: int) -> tuple[Tensor, Tensor]:
    """Extract LR and HR patches from a store, flipped and rotated.

    Args:
        store: Training images.
        samples: Positions and transforms of the patches.
        patch: Side of the patches in LR pixels.

    Returns:
        LR patches (B, 3, patch, patch) and HR patches (B, 3, s·patch, s·patch), float32 in [0, 1], on the store's
        device.
    """
    starts = store.starts[samples.image]
    widths = store.sizes[samples.image, 1]
    return (
        _gather(store.lr, starts, widths, samples, patch, 1),
        _gather(store.hr, starts, widths, samples, patch, store.scale),
    )


def degrade_patches(
    lr: Tensor,
    store: Store,
    samples: PatchSamples,
    degradation: PhotoDegradation,
    indices: range,
    seed: int,
    step: int,
) -> None:
    """Replace LR patches of one step by degraded ones, in place.

    Degradation i depends on (seed, step, i) alone, like patch i.

    Args:
        lr: LR patches (B, 3, patch, patch), float32 in [0, 1].
        store: Training images in main memory.
        samples: Positions and transforms of the patches.
        degradation: Random degradation.
        indices: Consecutive indices of the patches within the step.
        seed: Seed of the run.
        step: Number of the step.
    """
    for patch, index, *sample in zip(
        lr, indices, samples.image, samples.top, samples.left, samples.transform, strict=True
    ):
        counter = (2 << 192) | (index << 128) | (step << 64)
        random = np.random.Generator(np.random.Philox(key=seed, counter=counter))
        if random.random() >= degradation.clean:
            window = degradation.apply(_hr_window(store, *sample, patch.shape[-1]), store.scale, random)
            inner = window[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
            patch.copy_(torch.from_numpy(inner.transpose(2, 0, 1).copy()).float().div_(255))


def _hr_window(store: Store, image: int, top: int, left: int, transform: int, patch: int) -> np.ndarray:
    """Return an HR patch with a margin, mirrored at the borders of the image, flipped and rotated: uint8."""
    scale, (height, width) = store.scale, store.sizes[image]
    begin = store.starts[image] * scale**2
    pixels = store.hr[begin : begin + height * width * scale**2].numpy().reshape(height * scale, width * scale, 3)
    inside, missing = [], []
    for start, size in ((top, height), (left, width)):
        first, end = start - _MARGIN, start + patch + _MARGIN
        inside.append(slice(max(first, 0) * scale, min(end, size) * scale))
        missing.append((max(-first, 0) * scale, max(end - size, 0) * scale))
    window = np.pad(pixels[tuple(inside)], (*missing, (0, 0)), "symmetric")
    window = window[:: -1 if transform & 2 else 1, :: -1 if transform & 4 else 1]
    return window.swapaxes(0, 1) if transform & 1 else window


def extract_targets(store: Store, samples: PatchSamples, patch: int) -> Tensor:
    """Extract patches of the teacher targets, flipped and rotated as by [`extract_patches`].

    Returns:
        Patches (B, 3, s·patch, s·patch), float32 in [0, 1], on the store's device.
    """
    widths = store.sizes[samples.image, 1]
    return _gather(store.targets, store.starts[samples.image], widths, samples, patch, store.scale)


def _gather(
    pixels: Tensor, starts: np.ndarray, widths: np.ndarray, samples: PatchSamples, patch: int, scale: int
) -> Tensor:
    """Gather patches from the (N, 3) pixels of images ``scale`` times the LR size.

    ``starts`` and ``widths`` are those of the LR images.
    """

    def column(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(pixels.device).view(-1, 1, 1)

    side = patch * scale
    offsets = torch.arange(side, device=pixels.device)
    transform = column(samples.transform)
    rows, columns = offsets.view(1, -1, 1), offsets.view(1, 1, -1)
    swapped = (transform & 1).bool()
    rows, columns = torch.where(swapped, columns, rows), torch.where(swapped, rows, columns)
    rows = torch.where((transform & 2).bool(), side - 1 - rows, rows)
    columns = torch.where((transform & 4).bool(), side - 1 - columns, columns)
    first = column(starts * scale**2 + samples.top * scale * widths * scale + samples.left * scale)
    index = first + rows * column(widths * scale) + columns
    return pixels[index.flatten()].view(*index.shape, 3).permute(0, 3, 1, 2).float().div_(255)
