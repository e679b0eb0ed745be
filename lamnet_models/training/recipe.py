"""Training recipes: all settings of a run as one YAML file, and the schedules they define."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..errors import TrainingError
from ..filesystem import atomic_path

if TYPE_CHECKING:
    from ..degradation import PhotoDegradation

_Settings = typing.TypeVar("_Settings")

_FOLDER = Path(__file__).parent / "recipes"

OPTIMIZERS = ("adam", "muon")
SCHEDULES = ("constant", "multistep", "cosine", "linear", "wsd")
PRECISIONS = ("fp32", "bf16", "fp16")
LOSSES = ("l1", "charbonnier", "l1_fft")
STARTS = ("random", "interpolation")
CROPS = ("uniform", "textured")
DEGRADATIONS = ("clean", "photo")
BUDGETS = ("steps", "minutes", "pixels")


@dataclass(frozen=True)
class Recipe:
    """Settings of a training run.

    Attributes:
        model: Name of the model, such as ``"lamnet_x2"``.
        model_args: Arguments of [`LAMNet`][lamnet_models.LAMNet] that override those of the model.
        data: Folders of images, or dataset names; see [`training_data`][lamnet_models.training.images.training_data].
        start: Initial weights: ``"random"``, as in the original configuration, or ``"interpolation"``, which makes the
            untrained network interpolate.
        init_from: Checkpoint file or name of packaged weights; tensors of matching name and shape are loaded,
            those for another number of image channels adapted.
        decay_from: Folder of the run that this run branches from, decaying the learning rate to zero over its own
            budget; set by ``train(..., decay_from=RUN)``.
        steps: Budget in optimizer steps. Exactly one of ``steps``, ``minutes`` and ``pixels`` is set.
        minutes: Budget in minutes of wall-clock time.
        pixels: Budget in LR pixels.
        batch: Patches per step, over all processes and micro-batches.
        patch: Side of the patches in LR pixels.
        accumulate: Micro-batches per step.
        optimizer: ``"adam"``, or ``"muon"``: orthogonalized momentum for the matrices, NAdam for all other parameters.
        lr: Peak learning rate.
        warmup: Steps of linear warm-up of the learning rate.
        schedule: ``"constant"``, ``"multistep"``, ``"cosine"``, ``"linear"`` or ``"wsd"`` (warm-up, stable, decay); the
            last three end at 0.
        decay: Final fraction of the budget over which the learning rate of ``"wsd"`` falls linearly to 0.
        milestones: Steps at which ``"multistep"`` multiplies the learning rate by ``gamma``.
        gamma: Learning rate factor at each milestone.
        betas: Betas of Adam or NAdam.
        clip: Maximum gradient norm; 0 for no clipping.
        ema: Decay of the exponential moving average of the weights, which is validated and exported.
        loss: ``"l1"``, ``"charbonnier"`` with ε = 10⁻³, or ``"l1_fft"``: L1 + 0.05 · L1 of the 2D Fourier coefficients.
        crops: ``"uniform"``, or ``"textured"``: three of four patches are the most textured of four random candidates.
        targets: Folder of teacher outputs, one PNG of the HR size per training image; see
            [`find_targets`][lamnet_models.training.images.find_targets].
        target_weight: Weight α of the targets: loss = (1 − α) · L(output, HR) + α · L(output, target).
        target_license: Terms of use of the targets, for the model card.
        precision: ``"fp32"``, or ``"bf16"`` or ``"fp16"`` with autocast.
        compile: Whether to compile the blocks with ``torch.compile``.
        grad_checkpointing: Whether to recompute each block in the backward pass to save memory.
        lr_border: Edge rule for synthesized LR images; see [`imresize`][lamnet_models.evaluation.imresize].
        degradation: ``"clean"``, or ``"photo"``: most LR patches are degraded like photographs from phones and the web.
        degradation_args: Parameters of [`PhotoDegradation`][lamnet_models.degradation.PhotoDegradation].
        holdout: Number of training images to hold out for validation.
        valid: Dataset to validate on instead; see [`open_dataset`][lamnet_models.data.open_dataset].
        valid_degrade: Degradations of the LR images for validation, such as ``"jpeg=75"``; see
            [`parse_degradations`][lamnet_models.degradation.parse_degradations].
        valid_crop: Side in pixels of the center crop of each validation image; 0 for no crop.
        valid_every: Steps between validations; 0 to disable.
        valid_minutes: Minutes between validations; 0 to disable.
        save_every: Steps between saved states; 0 to disable.
        save_minutes: Minutes between saved states; 0 to disable.
        keep: Number of most recent states to keep.
        log_every: Steps between reports; the first step of a session is shown too, but not logged.
        seed: Random seed.
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
    optimizer: str = "adam"
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
    degradation: str = "clean"
    degradation_args: dict[str, Any] = field(default_factory=dict)
    holdout: int = 0
    valid: str | None = None
    valid_degrade: str = ""
    valid_crop: int = 0
    valid_every: int = 0
    valid_minutes: float = 0.0
    save_every: int = 0
    save_minutes: float = 10.0
    keep: int = 2
    log_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name, minimum in _MINIMUMS.items():
            value = getattr(self, name)
            if value is not None and not value >= minimum:
                raise TrainingError(f"{name} must be at least {minimum}, got {value}")
        choices = {
            "optimizer": OPTIMIZERS,
            "schedule": SCHEDULES,
            "precision": PRECISIONS,
            "loss": LOSSES,
            "start": STARTS,
            "crops": CROPS,
            "degradation": DEGRADATIONS,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise TrainingError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if sum(getattr(self, name) is not None for name in BUDGETS) != 1:
            values = [f"{name}={getattr(self, name):g}" for name in BUDGETS if getattr(self, name) is not None]
            raise TrainingError(f"exactly one of {', '.join(BUDGETS)} must be set, got {', '.join(values) or 'none'}")
        if self.steps is None and self.schedule == "multistep":
            raise TrainingError("schedule=multistep requires steps: set steps, or schedule=wsd with minutes or pixels")
        if self.minutes == 0:
            raise TrainingError("minutes must be above 0, got 0")
        if not 0 < self.decay <= 1:
            raise TrainingError(f"decay must be above 0 and at most 1, got {self.decay:g}")
        if not 0 <= self.target_weight <= 1:
            raise TrainingError(f"target_weight must be 0 to 1, got {self.target_weight:g}")
        if self.batch % self.accumulate:
            raise TrainingError(f"batch must be a multiple of accumulate ({self.accumulate}), got {self.batch}")
        if not 0 <= self.ema < 1 or len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise TrainingError(f"ema and both betas must be in [0, 1), got ema {self.ema}, betas {list(self.betas)}")
        if self.valid_degrade:
            from ..degradation import parse_degradations  # loads torch

            try:
                parse_degradations(self.valid_degrade)
            except ValueError as error:
                raise TrainingError(f"valid_degrade: {error}") from None
        if self.degradation_args and self.degradation == "clean":
            raise TrainingError("degradation_args requires degradation=photo")
        if self.degradation == "photo":  # saved recipes have all parameters
            object.__setattr__(self, "degradation_args", _plain(dataclasses.asdict(self.photo_degradation)))

    @property
    def photo_degradation(self) -> PhotoDegradation:
        """Degradation of ``degradation="photo"``.

        Raises:
            TrainingError: If a parameter is unknown or out of range.
        """
        from ..degradation import PhotoDegradation  # loads torch

        try:
            return _build(PhotoDegradation, self.degradation_args)
        except (TrainingError, ValueError) as error:
            raise TrainingError(f"degradation_args: {error}") from None

    @property
    def pixels_per_step(self) -> int:
        """LR pixels of one optimizer step."""
        return self.batch * self.patch**2

    def with_overrides(self, overrides: dict[str, Any]) -> Recipe:
        """Return a copy of the recipe with some fields changed.

        Args:
            overrides: Values by field.

        Raises:
            TrainingError: If a field is unknown, or a value has the wrong type or is out of range.
        """
        sets_budget = any(overrides.get(name) is not None for name in BUDGETS)
        cleared = dict.fromkeys(BUDGETS) if sets_budget else {}
        return _build(Recipe, {**dataclasses.asdict(self), **cleared, **overrides})

    def save(self, path: str | os.PathLike) -> None:
        """Write all fields as YAML."""
        with atomic_path(path) as temporary:
            temporary.write_text(yaml.safe_dump(_plain(dataclasses.asdict(self)), sort_keys=False), encoding="utf-8")


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
    """Return the names of the bundled recipes."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load_recipe(name: str | os.PathLike) -> Recipe:
    """Load a bundled recipe by name, or a YAML file.

    Raises:
        TrainingError: If the name is unknown, or the file is not a valid recipe.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = _FOLDER / f"{name}.yaml"
        if not path.is_file():
            near = difflib.get_close_matches(str(name), list_recipes(), n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(list_recipes())}, or a .yaml file"
            raise TrainingError(f"unknown recipe {str(name)!r}: {hint}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise TrainingError(f"{path}: not a recipe: each line must be FIELD: VALUE")
    try:
        return _build(Recipe, content)
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from None


def parse_settings(texts: list[str]) -> dict[str, Any]:
    """Parse settings such as ``"lr=5e-4"`` and ``"model_args={embed_dim: 32}"``.

    Returns:
        Values by field.

    Raises:
        TrainingError: If a text is not a setting.
    """
    values = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign:
            raise TrainingError(f"setting must be FIELD=VALUE, such as lr=5e-4, got {text!r}")
        try:
            values[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise TrainingError(f"{key.strip()} must be valid YAML, got {value!r}") from None
    return values


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return values with lists in place of tuples, which YAML lacks."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _build(kind: type[_Settings], values: dict[str, Any]) -> _Settings:
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1)
            hint = f"did you mean {near[0]}?" if near else f"available: {', '.join(hints)}"
            raise TrainingError(f"unknown setting {key!r}: {hint}")
    return kind(**{key: _cast(key, value, hints[key]) for key, value in values.items()})


def _cast(key: str, value: Any, hint: Any) -> Any:
    """Convert a value to the type of its field.

    YAML reads ``1e-3`` as a string and ``1`` as an integer.
    """
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(option for option in typing.get_args(hint) if option is not types.NoneType)
    error = TrainingError(f"{key} must be {_TYPE_NAMES[typing.get_origin(hint) or hint]}, got {value!r}")
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise error
        return tuple(_cast(key, item, typing.get_args(hint)[0]) for item in value)
    if hint in (int, float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise error from None
        if math.isfinite(number) and (hint is float or number.is_integer()):
            return hint(number)
        raise error
    if isinstance(value, typing.get_origin(hint) or hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise error


_TYPE_NAMES = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a string",
    tuple: "a list",
    dict: "a mapping",
}


# Progress and learning rate


def budget_progress(recipe: Recipe, step: int, pixels: int, seconds: float) -> float:
    """Return the fraction of the budget used, from 0 to 1.

    Args:
        recipe: Settings of the run.
        step: Steps done within the budget.
        pixels: LR pixels seen within the budget.
        seconds: Seconds of training within the budget.
    """
    if recipe.steps is not None:
        return step / recipe.steps
    if recipe.pixels is not None:
        return pixels / recipe.pixels
    return seconds / (60 * recipe.minutes)


def learning_rate(recipe: Recipe, step: int, progress: float) -> float:
    """Return the learning rate of a step.

    Args:
        recipe: Settings of the run.
        step: Number of the step, from 0.
        progress: Fraction of the budget used, from 0 to 1.
    """
    rate = recipe.lr
    if recipe.schedule == "multistep":
        rate *= recipe.gamma ** sum(step >= milestone for milestone in recipe.milestones)
    elif recipe.schedule == "cosine":
        rate *= (1 + math.cos(math.pi * min(progress, 1.0))) / 2
    elif recipe.schedule == "linear":
        rate *= max(0.0, 1 - progress)
    elif recipe.schedule == "wsd":
        rate *= min(1.0, max(0.0, (1 - progress) / recipe.decay))
    return rate * min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else rate
