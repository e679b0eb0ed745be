"""Names of models and packaged weights, without torch."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from .errors import CheckpointError, ModelError

VARIANTS: dict[str, dict[str, int]] = {
    "lamnet_x2": {"scale": 2, "num_blocks": 4},
    "lamnet_x3": {"scale": 3, "num_blocks": 4},
    "lamnet_x4": {"scale": 4, "num_blocks": 4},
    "lamnet_large_x2": {"scale": 2, "num_blocks": 5},
    "lamnet_large_x3": {"scale": 3, "num_blocks": 5},
    "lamnet_large_x4": {"scale": 4, "num_blocks": 5},
}
"""Models of the paper: arguments of [`LAMNet`][lamnet_models.LAMNet] by name."""

BASELINES = ("swinir_light", "omni_sr", "atd_light", "dat_light", "craft", "dctlsa", "safmn")
"""Peer networks for comparisons of speed; see [`PEERS`][lamnet_models.benchmarking.PEERS]."""

INTERPOLATIONS = ("bicubic", "lanczos")
"""Baselines without a network: MATLAB's bicubic interpolation and Pillow's Lanczos filter."""

FAMILIES = {"LAMNet": 4, "LAMNet-large": 5}
"""Numbers of blocks of the two networks of the paper, by their names there."""

NUM_PARAMS = {
    "lamnet_x2": 828_364,
    "lamnet_x3": 837_019,
    "lamnet_x4": 849_136,
    "lamnet_large_x2": 1_024_028,
    "lamnet_large_x3": 1_032_683,
    "lamnet_large_x4": 1_044_800,
}
"""Numbers of parameters of the models of the paper."""

NUM_MACS = {
    "lamnet_x2": 185_307_955_200,
    "lamnet_x3": 83_113_758_720,
    "lamnet_x4": 47_521_382_400,
    "lamnet_large_x2": 229_013_913_600,
    "lamnet_large_x3": 102_508_277_760,
    "lamnet_large_x4": 58_447_872_000,
}
"""Multiply-accumulates of the models of the paper for an output of 1280×720; see ``complexity``."""

PURPOSES = {
    "clean": "sharp images without compression artifacts or noise",
    "photo": "photographs with JPEG artifacts, noise or slight blur",
}
"""What weights are for, by the first part of their tag; the first purpose is the default."""

LICENSE = "Apache-2.0"
"""License of the packaged weights, as an SPDX identifier."""

WEIGHTS_VARIABLE = "LAMNET_WEIGHTS"
"""Environment variable with a folder of checkpoints, searched before the packaged weights."""

HUB_VARIABLE = "LAMNET_HUB"
"""Environment variable with a Hugging Face repository of ``NAME.TAG.safetensors``, searched last."""

_WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")  # the first is preferred
_SUFFIXES = (*_WEIGHTS_SUFFIXES, ".onnx")

_PACKAGED = Path(__file__).parent / "weights"


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """List the models of the paper.

    Args:
        pattern: Shell-style pattern of names.
        pretrained: Whether to list the packaged weights, as ``NAME.TAG``, instead.
    """
    names = packaged_weights() if pretrained else VARIANTS
    return [name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name.partition(".")[0], pattern)]


def packaged_weights() -> dict[str, Path]:
    """Return the packaged checkpoints by ``NAME.TAG``, by name, purpose and version; the newest version is first."""
    paths = {path.stem: path for path in _PACKAGED.glob("*.safetensors")}

    def order(item: tuple[str, Path]) -> tuple[str, tuple]:
        name, _, tag = item[0].partition(".")
        return name, _tag_order(tag)

    return dict(sorted(paths.items(), key=order))


def find_local_weights(name: str, tag: str = "") -> Path | None:
    """Find the weights of a model in the folder ``LAMNET_WEIGHTS``, then among the packaged ones.

    Args:
        name: Name of the model, such as ``"lamnet_x4"``.
        tag: Tag such as ``"photo_v1"``; a purpose such as ``"photo"``: the newest version, with versions compared as
            numbers; empty: the file of this folder without a tag, otherwise the newest ``clean`` version, otherwise a
            tag that begins with none of [`PURPOSES`][lamnet_models.names.PURPOSES].

    Returns:
        Path of the checkpoint, None if there is none.

    Raises:
        CheckpointError: If ``LAMNET_WEIGHTS`` is not a folder.
    """
    sources = [list(packaged_weights().values())]
    if folder := os.environ.get(WEIGHTS_VARIABLE):
        if not Path(folder).is_dir():
            raise CheckpointError(f"{WEIGHTS_VARIABLE} must be a folder, got {folder}")
        paths = [path for path in Path(folder).iterdir() if path.suffix in _WEIGHTS_SUFFIXES]
        sources.insert(0, sorted(paths, key=lambda path: _WEIGHTS_SUFFIXES.index(path.suffix)))
    for paths in sources:
        by_tag: dict[str, Path] = {}
        for path in paths:
            if path.stem.partition(".")[0] == name:
                by_tag.setdefault(tag_of(path), path)
        selected = _select_tag(by_tag, tag)
        if selected is not None:
            return by_tag[selected]
    return None


def tag_of(path: Path) -> str:
    """Return the tag of a checkpoint named ``NAME.TAG.safetensors``; empty if there is none."""
    return path.stem.partition(".")[2]


def purpose_of(name: str) -> str:
    """Return the purpose of weights named ``NAME.TAG``: the tag without its version."""
    return _split_tag(name.partition(".")[2])[0]


def _select_tag(tags: Iterable[str], tag: str) -> str | None:
    """Return the tag that ``tag`` selects, see ``find_local_weights``."""
    if tag in tags:
        return tag
    default = next(iter(PURPOSES))
    purposes = {candidate: _split_tag(candidate)[0] for candidate in tags}
    if tag:
        candidates = [candidate for candidate, purpose in purposes.items() if purpose == tag]
    else:
        candidates = [key for key, purpose in purposes.items() if purpose == default or purpose not in PURPOSES]
    return min(candidates, key=_tag_order, default=None)


def _tag_order(tag: str) -> tuple[int, str, int, str]:
    """Return the sort key of a tag: its purpose, the newest version first."""
    purpose, version = _split_tag(tag)
    rank = list(PURPOSES).index(purpose) if purpose in PURPOSES else len(PURPOSES)
    return rank, purpose, -version, tag


def _split_tag(tag: str) -> tuple[str, int]:
    """Return purpose and version of a tag such as ``"photo_v10"``; a tag without version has version 0."""
    purpose, _, version = tag.rpartition("_v")
    return (purpose, int(version)) if purpose and version.isdecimal() else (tag, 0)


def has_weights(name: str, tag: str) -> bool:
    """Return whether a model has weights of a tag or purpose; with ``LAMNET_HUB``, the hub is assumed to have them."""
    return bool(os.environ.get(HUB_VARIABLE)) or find_local_weights(name, tag) is not None


def offers_photo_weights(model: object) -> bool:
    """Return whether a model is given by a name without tag, for clean weights, and has photo weights, too."""
    if model not in VARIANTS or is_checkpoint_path(model):
        return False
    default = find_local_weights(model)
    is_clean = default is not None and purpose_of(default.stem) == "clean"
    return is_clean and find_local_weights(model, "photo") is not None


def check_weights(model: object, weights: str | None, strength: float | None) -> tuple[str | None, float]:
    """Check the arguments ``weights`` and ``strength`` of the functions that upscale.

    Args:
        model: Network, model name or checkpoint they are passed with; None for a default model.
        weights: Purpose, see [`PURPOSES`][lamnet_models.names.PURPOSES]; None if not specified.
        strength: Strength of the photo weights, 0 to 1; None if not specified.

    Returns:
        The purpose, ``"photo"`` if only the strength is specified and None if neither is, and the strength, by default
        1.

    Raises:
        ValueError: If an argument is out of range, or the model is not given by a name without tag.
    """
    if weights is None and strength is None:
        return None, 1
    if weights is not None and weights not in PURPOSES:
        raise ValueError(f"weights must be {' or '.join(PURPOSES)}, got {weights!r}")
    if strength is not None and not (isinstance(strength, int | float) and 0 <= strength <= 1):
        raise ValueError(f"strength must be a number from 0 to 1, got {strength!r}")
    if strength is not None and weights not in (None, "photo"):
        raise ValueError(f"strength requires photo weights, got {weights} weights")
    if model is not None and not isinstance(model, str):
        kind = str(model) if isinstance(model, os.PathLike) else type(model).__name__
        raise ValueError(f"weights and strength require a model name such as lamnet_x4, got {kind}")
    if model is not None and (is_checkpoint_path(model) or ":" in model or "." in model):
        raise ValueError(f"weights and strength require a model name without tag, such as lamnet_x4, got {model}")
    return weights or "photo", 1 if strength is None else strength


@dataclass(frozen=True)
class PackagedWeights:
    """Facts about packaged weights.

    Attributes:
        name: ``NAME.TAG``.
        scale: Scale factor.
        purpose: Key of [`PURPOSES`][lamnet_models.names.PURPOSES].
        params: Number of parameters.
        macs: Multiply-accumulates for an output of 1280×720.
        bytes: Size of the file.
        license: SPDX identifier.
        scores: PSNR in dB and SSIM by dataset, measured by ``lamnet release``.
    """

    name: str
    scale: int
    purpose: str
    params: int
    macs: int
    bytes: int
    license: str
    scores: dict[str, tuple[float, float]]


def describe_weights(name: str) -> PackagedWeights:
    """Return the facts about packaged weights, without reading the tensors.

    Args:
        name: ``NAME.TAG``, a key of [`packaged_weights`][lamnet_models.names.packaged_weights].
    """
    path = packaged_weights()[name]
    variant = name.partition(".")[0]
    with open(path, "rb") as file:  # the header of a safetensors file: its length, then JSON
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    training = json.loads(header["__metadata__"]["lamnet"])["training"]
    scores = {dataset: tuple(score) for dataset, score in training.get("scores", {}).items()}
    return PackagedWeights(
        name=name,
        scale=VARIANTS[variant]["scale"],
        purpose=purpose_of(name),
        params=NUM_PARAMS[variant],
        macs=NUM_MACS[variant],
        bytes=path.stat().st_size,
        license=LICENSE,
        scores=scores,
    )


def is_checkpoint_path(source: str | os.PathLike) -> bool:
    """Return whether ``source`` is a file path instead of the name of weights."""
    path = Path(source)
    return isinstance(source, os.PathLike) or path.suffix in _SUFFIXES or path.is_file()


def display_name(model: str | os.PathLike) -> str:
    """Return a model's name for tables and charts; a file has its folder's, such as ``"run/best.safetensors"``."""
    if not is_checkpoint_path(model):
        return model
    folder, file = Path(model).parent.name, Path(model).name
    return file if folder in ("", "..") else f"{folder}/{file}"


def split_name(name: str, baselines: Sequence[str] = ()) -> tuple[str, str]:
    """Return the name in [`VARIANTS`][lamnet_models.names.VARIANTS] and the full tag, empty if there is none.

    Args:
        name: Name of a model, or of weights: ``NAME.TAG``, or ``NAME.PURPOSE`` for their newest version.
        baselines: Names to suggest besides those of models.

    Raises:
        ModelError: If the model, or with a tag its weights, do not exist.
        CheckpointError: If ``LAMNET_WEIGHTS`` is not a folder.
    """
    variant, _, tag = name.partition(".")
    if variant not in VARIANTS:
        near = difflib.get_close_matches(variant, [*VARIANTS, *baselines], n=1)
        if near:
            raise ModelError(f"no model named {variant!r}: did you mean {near[0]}?")
        if baselines:
            raise ModelError(f"no model named {variant!r} (see lamnet list); baselines: {', '.join(baselines)}")
        raise ModelError(f"no model named {variant!r}: available: {', '.join(VARIANTS)}")
    if not tag:
        return variant, ""
    if path := find_local_weights(variant, tag):
        return variant, tag_of(path)
    if has_weights(variant, tag):
        return variant, tag
    tags = [key for key in packaged_weights() if key.startswith(f"{variant}.")]
    message = f"no weights named {name!r}; packaged for {variant}: {', '.join(tags) or 'none'}"
    if tag in PURPOSES:
        others = [key for key in VARIANTS if find_local_weights(key, tag)]
        message += f"; models with {tag} weights: {', '.join(others) or 'none'}"
    raise ModelError(message)


def find_variant(scale: int, num_blocks: int) -> str | None:
    """Return the name of the model of the paper with this scale and number of blocks, or None."""
    return next((name for name, args in VARIANTS.items() if args == {"scale": scale, "num_blocks": num_blocks}), None)


def default_model_for_scale(scale: int) -> str:
    """Return the name of the smaller model of a scale.

    Raises:
        ModelError: If the paper has no model of this scale.
    """
    name = find_variant(scale, FAMILIES["LAMNet"])
    if name is None:
        scales = [args["scale"] for args in VARIANTS.values()]
        advice = "upscale twice, or specify a model" if scale > max(scales) else "specify a model"
        raise ModelError(f"scale must be {min(scales)} to {max(scales)}, got {scale}: {advice}")
    return name
