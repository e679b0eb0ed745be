"""Recipes: everything that decides how a training run goes, as one small file."""

from __future__ import annotations

import dataclasses
import difflib
import os
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..errors import TrainingError
from ..files import atomic_path

_FOLDER = Path(__file__).parent / "recipes"

SCHEDULES = ("constant", "multistep", "cosine", "linear", "wsd")
PRECISIONS = ("fp32", "bf16", "fp16")
LOSSES = ("l1", "charbonnier", "l1_fft")
STARTS = ("random", "interpolation")
CROPS = ("uniform", "textured")
BUDGETS = ("steps", "minutes", "pixels")


@dataclass(frozen=True)
class Recipe:
    """A training run's settings.

    Attributes:
        model: Name of the model, ``"lamnet_x2"``.
        model_args: Arguments of [`LAMNet`][lamnet_models.LAMNet] that differ from that model's.
        data: Folders of images, or names of sets; see [`training_data`][lamnet_models.training.data.training_data].
        start: ``"random"``, the released configuration's, or ``"interpolation"``: the network interpolates at first.
        init_from: Checkpoint, or name of packaged weights, to start from; what fits is taken.
        decay_from: Folder of the run whose newest state this run continues, decaying the learning rate to zero over its
            own budget; set by ``train(..., decay_from=RUN)``.
        steps: Budget in optimizer steps. Exactly one of ``steps``, ``minutes`` and ``pixels`` is set.
        minutes: Budget in minutes of wall-clock time.
        pixels: Budget in LR pixels.
        batch: Patches a step, over all processes and accumulated parts.
        patch: Side of the patches in pixels of the reduced image.
        accumulate: Parts that a step's batch is computed in, one after the other.
        lr: Highest learning rate.
        warmup: Steps over which the learning rate rises to it.
        schedule: ``"constant"``, ``"multistep"``, ``"cosine"``, ``"linear"`` or ``"wsd"`` (warm-up, stable, decay); the
            last three end at 0.
        decay: Last fraction of the budget. Over it, the learning rate of ``"wsd"`` and, under every schedule,
            the weight of the targets fall linearly to 0.
        milestones: Steps at which ``"multistep"`` multiplies the learning rate with ``gamma``.
        gamma: That factor.
        betas: Adam's.
        clip: Largest norm of the gradient, longer ones are shortened to it; 0 for no limit.
        ema: Decay of the running mean of the weights, which is what is validated and kept.
        loss: ``"l1"``, ``"charbonnier"`` with ε = 10⁻³, or ``"l1_fft"``: L1 + 0.05 · L1 of the 2D Fourier coefficients.
        crops: ``"uniform"``, or ``"textured"``: three of four patches are the most textured of four random candidates.
        targets: Folder of teacher outputs, one PNG of the HR size per training image; see
            [`find_targets`][lamnet_models.training.targets.find_targets].
        target_weight: Weight α of the targets: loss = (1 − α) · L(output, HR) + α · L(output, target).
        target_license: Terms of use of the targets, for the model card.
        precision: ``"fp32"``, or ``"bf16"`` or ``"fp16"`` by autocast.
        compile: Whether to compile the blocks with ``torch.compile``.
        grad_checkpointing: Whether to recompute each block in the backward pass, for less memory.
        lr_border: Edge rule of reductions that have to be made, see [`imresize`][lamnet_models.evaluation.imresize].
        holdout: Images of the training data that are kept out of it, for validation.
        valid: Set to validate on instead; see [`open_dataset`][lamnet_models.datasets.open_dataset].
        valid_crop: Side in pixels of the part of each image that is validated on, at its centre; 0 for the whole.
        valid_every: Steps between validations; 0 for none by steps.
        valid_minutes: Minutes between validations; 0 for none by the clock.
        save_every: Steps between saved states; 0 for none by steps.
        save_minutes: Minutes between saved states; 0 for none by the clock.
        keep: Saved states to keep, the last ones.
        log_every: Steps between lines of the log.
        seed: Of all random choices.
    """

    model: str = "lamnet_x2"
    model_args: dict[str, Any] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    start: str = "random"
    init_from: str | None = None
    decay_from: str | None = None
    steps: int | None = None
    minutes: float | None = None
    pixels: float | None = None
    batch: int = 64
    patch: int = 64
    accumulate: int = 1
    lr: float = 1e-3
    warmup: int = 0
    schedule: str = "multistep"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.5
    decay: float = 0.2
    betas: tuple[float, ...] = (0.9, 0.99)
    clip: float = 0.0
    ema: float = 0.999
    loss: str = "l1"
    crops: str = "uniform"
    targets: str | None = None
    target_weight: float = 0.5
    target_license: str | None = None
    precision: str = "fp32"
    compile: bool = False
    grad_checkpointing: bool = False
    lr_border: str = "mirror"
    holdout: int = 0
    valid: str | None = None
    valid_crop: int = 0
    valid_every: int = 0
    valid_minutes: float = 0.0
    save_every: int = 0
    save_minutes: float = 10.0
    keep: int = 2
    log_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name, smallest in _MINIMUMS.items():
            value = getattr(self, name)
            if value is not None and not value >= smallest:
                raise TrainingError(f"{name} is {value}, but it must be at least {smallest}")
        choices = {"schedule": SCHEDULES, "precision": PRECISIONS, "loss": LOSSES, "start": STARTS, "crops": CROPS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise TrainingError(f"{name} is {getattr(self, name)!r}, but it must be one of {', '.join(allowed)}")
        if sum(getattr(self, name) is not None for name in BUDGETS) != 1:
            raise TrainingError(f"set exactly one of {', '.join(BUDGETS)}")
        if self.steps is None and self.schedule == "multistep":
            raise TrainingError("schedule is multistep, which needs steps; with minutes or pixels, set wsd")
        if self.minutes == 0:
            raise TrainingError("minutes must be above 0, got 0")
        if not 0 < self.decay <= 1:
            raise TrainingError(f"decay must be above 0 and at most 1, got {self.decay:g}")
        if not 0 <= self.target_weight <= 1:
            raise TrainingError(f"target_weight must be 0 to 1, got {self.target_weight:g}")
        if self.batch % self.accumulate:
            raise TrainingError(f"batch is {self.batch}, but it must be a multiple of accumulate, {self.accumulate}")
        if not 0 <= self.ema < 1 or len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise TrainingError("ema and both betas must be at least 0 and below 1")

    @property
    def pixels_per_step(self) -> int:
        """LR pixels of one optimizer step."""
        return self.batch * self.patch**2

    def with_overrides(self, overrides: dict[str, Any]) -> Recipe:
        """Returns the recipe with some fields changed.

        Args:
            overrides: Values by field.

        Raises:
            TrainingError: If there is no such field, or its value is of another type or out of its range.
        """
        replaces_budget = any(overrides.get(name) is not None for name in BUDGETS)
        cleared = dict.fromkeys(BUDGETS) if replaces_budget else {}
        return _build_recipe({**dataclasses.asdict(self), **cleared, **overrides})

    def save(self, path: str | os.PathLike) -> None:
        """Writes the recipe, every field, as YAML."""
        plain = {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(self).items()}
        with atomic_path(path) as temporary:
            temporary.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")


_MINIMUMS = {
    "steps": 1,
    "pixels": 1,
    "batch": 1,
    "patch": 1,
    "accumulate": 1,
    "lr": 0,
    "warmup": 0,
    "gamma": 0,
    "clip": 0,
    "holdout": 0,
    "valid_crop": 0,
    "valid_every": 0,
    "valid_minutes": 0,
    "save_every": 0,
    "save_minutes": 0,
    "keep": 1,
    "log_every": 1,
    "seed": 0,
    "minutes": 0,
}


def list_recipes() -> list[str]:
    """Returns the names of the recipes that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load_recipe(name: str | os.PathLike) -> Recipe:
    """Reads a recipe: one that comes with the package by its name, or a YAML file.

    Raises:
        TrainingError: If there is no such recipe, or it is not one.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = _FOLDER / f"{name}.yaml"
        if not path.is_file():
            near = difflib.get_close_matches(str(name), list_recipes(), n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(list_recipes())}, or a file .yaml"
            raise TrainingError(f"there is no recipe {str(name)!r}: {hint}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise TrainingError(f"{path}: not a recipe: it must have one FIELD: VALUE a line")
    try:
        return _build_recipe(content)
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from None


def parse_settings(texts: list[str]) -> dict[str, Any]:
    """Returns values by field from texts such as ``"lr=5e-4"`` and ``"model_args={channels: 32}"``.

    Raises:
        TrainingError: If a text is no setting.
    """
    values = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign:
            raise TrainingError(f"{text!r} is no setting: write FIELD=VALUE, such as lr=5e-4")
        try:
            values[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise TrainingError(f"{text}: the value is not YAML") from None
    return values


def _build_recipe(values: dict[str, Any]) -> Recipe:
    hints = typing.get_type_hints(Recipe)
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1)
            raise TrainingError(f"there is no setting {key!r}" + (f": did you mean {near[0]}?" if near else ""))
    return Recipe(**{key: _cast(key, value, hints[key]) for key, value in values.items()})


def _cast(key: str, value: Any, hint: Any) -> Any:
    """Returns the value in its field's type: YAML takes 1e-3 for a text and 1 for an integer."""
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    wrong = TrainingError(f"{key} is {value!r}, but it must be {_TYPE_NAMES[typing.get_origin(hint) or hint]}")
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise wrong
        return tuple(_cast(key, item, typing.get_args(hint)[0]) for item in value)
    if hint in (int, float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise wrong from None
        if hint is float:
            return number
        if number == int(number):
            return int(number)
    if isinstance(value, typing.get_origin(hint) or hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise wrong


_TYPE_NAMES = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a text",
    tuple: "a list",
    dict: "a mapping",
}
