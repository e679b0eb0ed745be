"""Toy classification task that trains in seconds: which of three textures is a patch from?"""

from __future__ import annotations

from collections.abc import Iterator

import skimage.data
import torch
import torch.nn.functional as F
from torch import Tensor, nn

TEXTURES = (skimage.data.brick, skimage.data.grass, skimage.data.gravel)  # 512×512 gray photographs


def textures() -> Tensor:
    """Return the photographs, (3, 512, 512), normalized to mean 0 and variance 1."""
    maps = torch.stack([torch.from_numpy(texture()).float() for texture in TEXTURES])
    return (maps - maps.mean((1, 2), keepdim=True)) / maps.std((1, 2), keepdim=True)


def batches(rows: slice, steps: int, batch: int = 32, side: int = 32, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield patches, (B, 3, side, side), from rows of the photographs, and labels, (B,)."""
    maps, generator = textures()[:, rows], torch.Generator().manual_seed(seed)
    for _ in range(steps):
        labels = torch.randint(len(maps), (batch,), generator=generator)
        tops = torch.randint(maps.shape[1] - side + 1, (batch,), generator=generator)
        lefts = torch.randint(maps.shape[2] - side + 1, (batch,), generator=generator)
        positions = zip(labels, tops, lefts, strict=True)
        patches = [maps[label, top : top + side, left : left + side] for label, top, left in positions]
        yield torch.stack(patches)[:, None].expand(-1, 3, -1, -1), labels


def train(model: nn.Module, steps: int = 60, lr: float = 1e-3) -> list[float]:
    """Train on the upper three quarters of the photographs; return the loss of each step."""
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
    """Return the accuracy on patches from the lowest quarter, which is not trained on."""
    model.eval()
    means = [(model(patches).argmax(1) == labels).float().mean() for patches, labels in batches(slice(384, 512), steps)]
    return torch.stack(means).mean().item()


def report(model: nn.Module, steps: int = 60) -> None:
    """Train a model and print loss and accuracy."""
    losses = train(model, steps)
    first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    print(f"loss {first:.3f} → {last:.3f} in {steps} steps; accuracy {accuracy(model):.0%} on unseen patches")
