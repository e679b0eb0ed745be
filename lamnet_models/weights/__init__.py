"""Packaged checkpoints, each with its model card."""

from pathlib import Path

_FOLDER = Path(__file__).parent


def packaged_weights() -> dict[str, Path]:
    """Return the packaged checkpoints by ``NAME.TAG``, best tag of each name first."""
    return {path.name.removesuffix(".safetensors"): path for path in sorted(_FOLDER.glob("*.safetensors"))}
