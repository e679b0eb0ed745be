"""Models that differ from a published one: given as settings, and told from it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import torch

from lamnet_layers.block import FEED_FORWARDS
from lamnet_layers.mixer import ATTENTIONS, CHANNEL_MIXERS

from .errors import ModelError
from .lamnet import LAMNet
from .registry import NAMES, create_model

_BOOLEANS = {"true": True, "false": False}

_SETTING_TYPES: dict[str, type | tuple[str, ...]] = {
    "scale": int,
    "in_chans": int,
    "channels": int,
    "num_blocks": int,
    "depth": int,
    "heads": int,
    "attention": ATTENTIONS,
    "window.strides": list,
    "window.steps": list,
    "channel_mixer": CHANNEL_MIXERS,
    "exchange": bool,
    "feed_forward": tuple(FEED_FORWARDS),
    "hidden_channels": int,
}

SETTINGS = tuple(_SETTING_TYPES)
"""The keys of settings: arguments of [`LAMNet`][lamnet_models.LAMNet], the window's two by themselves."""


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Returns values by key from texts such as ``"channels=48"``, ``"window.strides=1,2"`` and ``"exchange=false"``.

    Args:
        texts: ``KEY=VALUE`` each, KEY of [`SETTINGS`][lamnet_models.variants.SETTINGS].

    Raises:
        ModelError: If a text is no setting, its key is unknown or given twice, or its value of another kind.
    """
    values: dict[str, Any] = {}
    for text in texts:
        key, sign, value = (part.strip() for part in text.partition("="))
        if not sign:
            raise ModelError(f"{text!r} is no setting: write KEY=VALUE, such as channels=48 or window.strides=1,2")
        if key not in _SETTING_TYPES:
            near = difflib.get_close_matches(key, _SETTING_TYPES, n=1)
            hint = f"did you mean {near[0]}? There are" if near else "there are"
            raise ModelError(f"there is no setting {key!r}: {hint} {', '.join(SETTINGS)}")
        if key in values:
            raise ModelError(f"{key} is set twice")
        values[key] = _parse(key, value, _SETTING_TYPES[key])
    return values


def create_variant(name: str, settings: Mapping[str, Any], **kwargs: Any) -> LAMNet:
    """Creates a model that differs from a published one.

    Args:
        name: The published model, as for [`create_model`][lamnet_models.create_model].
        settings: What differs, by the keys of [`SETTINGS`][lamnet_models.variants.SETTINGS]. Of a window, what is not
            given is the published one's.
        **kwargs: Further arguments of [`create_model`][lamnet_models.create_model].

    Raises:
        ModelError: If there is no model of that name, or a setting is out of its range.
        CheckpointError: If weights are asked for and do not fit.
    """
    arguments = {key: value for key, value in settings.items() if not key.startswith("window.")}
    try:
        rings = {key: settings[f"window.{key}"] for key in ("strides", "steps") if f"window.{key}" in settings}
        if rings:
            base = create_model(name, device=torch.device("meta"), attention=settings.get("attention", "fsa")).window
            arguments["window"] = (rings.get("strides", base.strides), rings.get("steps", base.steps))
        return create_model(name, **kwargs, **arguments)
    except ValueError as error:
        raise ModelError(f"{name} cannot be built so: {error}") from None
    except (RuntimeError, MemoryError) as error:  # torch's, for sizes beyond memory
        reason = str(error).partition("\n")[0] or "memory is short"
        raise ModelError(f"{name} cannot be built so: {reason}") from None


def format_settings(arguments: Mapping[str, Any]) -> str:
    """Returns arguments of [`LAMNet`][lamnet_models.LAMNet] as settings, ``"window.strides=1,2 window.steps=3,3"``."""
    return " ".join(f"{key}={format_value(value)}" for key, value in _flat(arguments).items())


def nearest_published(model: LAMNet) -> tuple[str, dict[str, tuple[Any, Any]]]:
    """Returns the published model that a model is nearest to, and what differs.

    Args:
        model: Any LAMNet.

    Returns:
        The published model's name, and by the keys of [`SETTINGS`][lamnet_models.variants.SETTINGS] the model's value
        and the published one's. Only models of the same scale are looked at, if there are any.
    """
    own, found = _flat(model.config), {}
    for name in [name for name in NAMES if name.endswith(f"_x{model.scale}")] or NAMES:
        other = _flat(_published_config(name))
        found[name] = {key: (value, other[key]) for key, value in own.items() if value != other[key]}
    return min(found.items(), key=lambda item: len(item[1]))


@cache
def _published_config(name: str) -> dict[str, Any]:
    return create_model(name, device=torch.device("meta")).config


def _flat(arguments: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in arguments.items():
        if key == "window":
            flat |= {f"window.{part}": list(side) for part, side in zip(("strides", "steps"), value, strict=True)}
        else:
            flat[key] = value
    return flat


def format_value(value: Any) -> str:
    """Returns a setting's value as it is written, ``"1,2,4"`` or ``"false"``."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _parse(key: str, text: str, kind: type | tuple[str, ...]) -> Any:
    if isinstance(kind, tuple):
        if text in kind:
            return text
        near = difflib.get_close_matches(text, kind, n=1)
        hint = f": did you mean {near[0]}?" if near else ""
        raise ModelError(f"{key} is {text!r}, but it must be one of {', '.join(kind)}{hint}")
    if kind is bool:
        if text.lower() in _BOOLEANS:
            return _BOOLEANS[text.lower()]
        raise ModelError(f"{key} is {text!r}, but it must be true or false")
    try:
        return [int(part) for part in text.split(",")] if kind is list else int(text)
    except ValueError:
        what = "integers separated by commas, such as 1,2,4" if kind is list else "an integer"
        raise ModelError(f"{key} is {text!r}, but it must be {what}") from None
