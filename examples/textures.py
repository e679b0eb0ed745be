"""A task small enough to train in seconds: which of three textures is a patch cut from?"""

from __future__ import annotations

from collections.abc import Iterator

import skimage.data
import torch
import torch.nn.functional as F
from torch import Tensor, nn

TEXTURES = (skimage.data.brick, skimage.data.grass, skimage.data.gravel)  # photographs of 512×512, grey


def textures() -> Tensor:
    """Returns the photographs, (3, 512, 512), each of mean 0 and variance 1: brightness shall not tell them apart."""
    maps = torch.stack([torch.from_numpy(texture()).float() for texture in TEXTURES])
    return (maps - maps.mean((1, 2), keepdim=True)) / maps.std((1, 2), keepdim=True)


def batches(rows: slice, steps: int, batch: int = 32, side: int = 32, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields patches (B, 3, side, side) and the indices of their textures (B,), from these rows of the photographs."""
    maps, generator = textures()[:, rows], torch.Generator().manual_seed(seed)
    for _ in range(steps):
        labels = torch.randint(len(maps), (batch,), generator=generator)
        tops = torch.randint(maps.shape[1] - side + 1, (batch,), generator=generator)
        lefts = torch.randint(maps.shape[2] - side + 1, (batch,), generator=generator)
        places = zip(labels, tops, lefts, strict=True)
        patches = [maps[label, top : top + side, left : left + side] for label, top, left in places]
        yield torch.stack(patches)[:, None].expand(-1, 3, -1, -1), labels


def train(model: nn.Module, steps: int = 60, lr: float = 1e-3) -> list[float]:
    """Trains on the upper three quarters of the photographs; returns the loss of each step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    losses = []
    model.train()
    for patches, labels in batches(slice(0, 384), steps):
        loss = F.cross_entropy(model(patches), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.inference_mode()
def accuracy(model: nn.Module, steps: int = 8) -> float:
    """Returns the share of patches from the lowest quarter, never trained on, whose texture is told right."""
    model.eval()
    right = [(model(patches).argmax(1) == labels).float().mean() for patches, labels in batches(slice(384, 512), steps)]
    return torch.stack(right).mean().item()


def report(model: nn.Module, steps: int = 60) -> None:
    """Trains a model and prints what came of it."""
    losses = train(model, steps)
    first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    print(f"loss {first:.3f} → {last:.3f} in {steps} steps; {accuracy(model):.0%} of unseen patches told right")
