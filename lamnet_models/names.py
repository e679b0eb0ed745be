"""Names of published models and packaged weights, available without importing torch."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from .errors import ModelError


@dataclass(frozen=True)
class PublishedModel:
    """Facts about a model of the paper.

    Attributes:
        scale: Scale factor.
        params: Number of parameters.
    """

    scale: int
    params: int


PUBLISHED = {
    "lamnet_x2": PublishedModel(2, 828_364),
    "lamnet_x3": PublishedModel(3, 837_019),
    "lamnet_x4": PublishedModel(4, 849_136),
    "lamnet_large_x2": PublishedModel(2, 1_024_028),
    "lamnet_large_x3": PublishedModel(3, 1_032_683),
    "lamnet_large_x4": PublishedModel(4, 1_044_800),
}
"""Models of the paper by name."""

_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".onnx")

_PACKAGED = Path(__file__).parent / "weights"


def list_models(pattern: str = "lamnet*", pretrained: bool = False) -> list[str]:
    """List the models of the paper.

    Args:
        pattern: Shell-style pattern of names.
        pretrained: Whether to list the packaged weights, as ``NAME.TAG``, instead.
    """
    names = packaged_weights() if pretrained else PUBLISHED
    return [name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name.partition(".")[0], pattern)]


def packaged_weights() -> dict[str, Path]:
    """Return the packaged checkpoints by ``NAME.TAG``, best tag of each name first."""
    return {path.name.removesuffix(".safetensors"): path for path in sorted(_PACKAGED.glob("*.safetensors"))}


def is_checkpoint_path(source: str | os.PathLike) -> bool:
    """Return whether ``source`` is a file path instead of the name of weights."""
    path = Path(source)
    return isinstance(source, os.PathLike) or path.suffix in _SUFFIXES or path.is_file()


def check_name(name: str) -> None:
    """Raise ModelError unless the model and, with a tag, its packaged weights exist."""
    base, _, tag = name.partition(".")
    if base not in PUBLISHED:
        near = difflib.get_close_matches(base, PUBLISHED, n=1)
        hint = f"did you mean {near[0]}?" if near else f"available: {', '.join(PUBLISHED)}"
        raise ModelError(f"no model named {base!r}: {hint}")
    if tag and name not in packaged_weights():
        tags = [key for key in packaged_weights() if key.startswith(f"{base}.")]
        raise ModelError(f"no weights named {name!r}; packaged for {base}: {', '.join(tags) or 'none'}")
