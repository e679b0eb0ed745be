"""Training loop, for one or several processes."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from accelerate import Accelerator
from torch import Tensor

from ..checkpoint import save_checkpoint
from ..data import Dataset
from ..errors import LAMNetError, TrainingError, one_line, quantity
from ..evaluation import evaluate
from ..factory import create_model
from .callbacks import Log, NullCallback, Report, TrainingCallback, Validation
from .checkpointing import (
    ZERO_COUNTERS,
    begin_part,
    branch_recipe,
    branch_state,
    check_fixed_fields,
    initialize_as_interpolation,
    initialize_from,
    is_validated_alike,
    load_state,
    lock_folder,
    other_images,
    part_metadata,
    save_state,
    set_random_state,
    write_state,
)
from .images import open_store, training_data, validation_set
from .optimizer import EMA, create_optimizer, load_optimizer_state
from .patches import degrade_patches, extract_patches, extract_targets, sample_patches, sample_textured_patches
from .processes import SignalHandler, detect_lost_process, join_processes
from .recipe import Recipe, budget_progress, learning_rate, load_recipe

_DEVICE_SHARE = 0.3
"""Largest fraction of free GPU memory for the decoded images; larger stores stay in main memory."""

_DECODED_EVERY = 100
"""Number of decoded images between messages."""

_FFT_WEIGHT = 0.05
"""Weight of the Fourier term in the loss ``"l1_fft"``."""

_HALF_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class TrainingResult:
    """Summary of a run.

    Attributes:
        folder: Folder of the run.
        step: Steps done.
        seconds: Training time in seconds, earlier sessions included.
        best: Highest validation PSNR in dB; None without a validation.
        stopped_by: Number of the signal that stopped the run early; 0 for none.
    """

    folder: Path
    step: int
    seconds: float
    best: float | None
    stopped_by: int


class Trainer:
    """Trainer for one run.

    Args:
        recipe: Settings of the run.
        folder: Folder of the run; a state in it is resumed.
        callback: Receives reports, validations and messages of the main process.

    Raises:
        LAMNetError: If the run cannot start.
    """

    def __init__(self, recipe: Recipe, folder: Path, callback: TrainingCallback) -> None:
        self.recipe = recipe
        self.folder = folder
        join_processes()
        # The recipe sets the precision, not the configuration of accelerate launch.
        self.accelerator = Accelerator(mixed_precision="no")
        self.callback = callback if self.accelerator.is_main_process else NullCallback()
        self._check_batch()
        torch.manual_seed(recipe.seed)
        network = create_model(recipe.model, **recipe.model_args)
        if network.in_chans != 3:
            raise TrainingError(f"the model must have in_chans=3 (RGB) for training, got in_chans={network.in_chans}")
        self.scale = network.scale
        state = load_state(folder / "states")
        if state is not None:
            check_fixed_fields(state, recipe, folder)
        train_set, holdout_set = training_data(recipe.data, self.scale, recipe.lr_border, recipe.holdout)
        self.valid_set = self._validation_set(holdout_set)
        self._open_images(train_set)
        if recipe.decay_from:
            state = self._branch_state()
            recipe = self.recipe
        if recipe.start == "interpolation":
            initialize_as_interpolation(network)
        self._init_info: dict[str, Any] = {}
        if recipe.init_from and state is None:
            self._init_info = initialize_from(network, recipe.init_from)
            self.callback.on_message(self._init_info["taken"])
        network.set_grad_checkpointing(recipe.grad_checkpointing)
        network = network.to(self.accelerator.device)
        self.ema = EMA(network, recipe.ema)
        self.network = network.train()
        self.optimizer = create_optimizer(network, recipe)
        self.scaler = torch.amp.GradScaler(self.accelerator.device.type, enabled=recipe.precision == "fp16")
        if recipe.compile:
            network.compile_blocks()
        # DistributedDataParallel warns about the strides of some gradients; the cost is negligible.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        self.model = self.accelerator.prepare(network)
        self.step, self.pixels, self._seconds, self._best = 0, 0, 0.0, None
        self._validated_at = (self.step, self._seconds)
        self._sample = torch.zeros(1, 3, recipe.patch, recipe.patch, device=self.accelerator.device)  # until a step
        self._start = ZERO_COUNTERS  # counters at the start of the budget; nonzero in a decay branch
        self._part = ZERO_COUNTERS  # counters at the start of the current settings
        self._loss, self._count = torch.zeros((), dtype=torch.float64, device=self.accelerator.device), 0
        if state is not None:
            self._restore(state)
        if self.accelerator.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            recipe.save(folder / "recipe.yaml")
            self.log = Log(folder / "log.jsonl", self.step)
        self._clock, self._start_time = self._seconds, time.monotonic()

    def run(self) -> TrainingResult:
        """Train to the end of the budget or until a stop signal.

        Raises:
            TrainingError: If the loss or the output is NaN or Inf.
            OSError: If the last state cannot be written.
        """
        recipe, stopped = self.recipe, 0
        self._saved_at = self._reported_at = (self.step, self.seconds)
        first = self.step + 1
        if recipe.compile:
            self.callback.on_message("compiling the network: the first step takes minutes")
        with SignalHandler() as signals:
            while self.progress < 1 and not stopped:
                self._step()
                stop, save = self._synchronize(signals)
                if self.step % recipe.log_every == 0:
                    self._report()
                elif self.step == first:
                    self.callback.on_report(self._current_report())
                if self._is_due(self._validated_at, recipe.valid_every, recipe.valid_minutes):
                    self._validate()
                if save or self._is_due(self._saved_at, recipe.save_every, recipe.save_minutes):
                    self._save(last=stop > 0)
                if save:
                    self.callback.on_message(f"saved the state of step {self.step}")
                stopped = stop
            if not stopped:
                is_validated = self._validated_at[0] == self.step
                if not is_validated:
                    self._validate()
                if not is_validated or self._saved_at[0] != self.step:
                    self._save(last=True)
        self.accelerator.wait_for_everyone()
        return TrainingResult(self.folder, self.step, self.seconds, self._best, stopped)

    @property
    def seconds(self) -> float:
        """Training time in seconds, earlier sessions included."""
        return self._seconds + time.monotonic() - self._start_time

    @property
    def progress(self) -> float:
        """Fraction of the budget used, 0 to 1; identical in all processes."""
        start = self._start
        return budget_progress(
            self.recipe, self.step - start["step"], self.pixels - start["pixels"], self._clock - start["seconds"]
        )

    def _step(self) -> None:
        recipe, accelerator, progress = self.recipe, self.accelerator, self.progress
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(recipe, self.step, progress)
        weight = recipe.target_weight if recipe.targets else 0.0
        for count, (lr, hr, targets) in enumerate(self._micro_batches(weight > 0), start=1):
            # Gradients are averaged over processes once per step, in the last micro-batch.
            with accelerator.no_sync(self.model) if count < recipe.accumulate else nullcontext():
                with self._autocast():
                    sr = self.model(lr)
                loss = self._compute_loss(sr, hr)
                if targets is not None:
                    loss = (1 - weight) * loss + weight * self._compute_loss(sr, targets)
                loss = loss / recipe.accumulate
                self.scaler.scale(loss).backward()
            self._loss += loss.detach()
        self._sample = lr[:1]
        if recipe.clip:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.pixels += recipe.pixels_per_step
        self._count += 1
        self.ema.update(self.network, self.step)

    def _autocast(self) -> torch.autocast:
        dtype = _HALF_DTYPES.get(self.recipe.precision)
        return torch.autocast(self.accelerator.device.type, dtype or torch.bfloat16, enabled=dtype is not None)

    def _micro_batches(self, with_targets: bool) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield the LR, HR and target patches of this process in ``accumulate`` micro-batches."""
        recipe, accelerator = self.recipe, self.accelerator
        share = recipe.batch // recipe.accumulate // accelerator.num_processes
        for index in range(recipe.accumulate):
            start = (index * accelerator.num_processes + accelerator.process_index) * share
            stop = start + share
            if recipe.crops == "textured":
                samples = sample_textured_patches(
                    self._host_store, recipe.patch, range(start, stop), recipe.seed, self.step
                )
            else:
                samples = sample_patches(self.store.sizes, recipe.patch, stop, recipe.seed, self.step)
                samples = samples.slice(start, stop)
            lr, hr = extract_patches(self.store, samples, recipe.patch)
            if recipe.degradation == "photo":
                lr = lr.cpu()
                indices = range(start, stop)
                degrade_patches(
                    lr, self._host_store, samples, recipe.photo_degradation, indices, recipe.seed, self.step
                )
            lr, hr = lr.to(accelerator.device), hr.to(accelerator.device)
            targets = (
                extract_targets(self.store, samples, recipe.patch).to(accelerator.device) if with_targets else None
            )
            yield lr, hr, targets

    def _compute_loss(self, sr: Tensor, reference: Tensor) -> Tensor:
        difference = sr.float() - reference
        if self.recipe.loss == "charbonnier":
            return (difference**2 + 1e-6).sqrt().mean()
        loss = difference.abs().mean()
        if self.recipe.loss == "l1_fft":  # linear: the FFT of the difference is the difference of the FFTs
            loss = loss + _FFT_WEIGHT * torch.view_as_real(torch.fft.rfft2(difference)).abs().mean()
        return loss

    def _synchronize(self, signals: SignalHandler) -> tuple[int, bool]:
        """Combine the signals of all processes and set their clocks to that of the main process.

        Returns:
            Number of the stop signal, 0 for none, and whether to save.
        """
        seconds = self.seconds if self.accelerator.is_main_process else 0.0
        save = signals.save
        if save:  # a signal from here on is kept for the next step
            signals.save = False
        values = [float(signals.stop), float(save or signals.stop > 0), seconds]
        if self.accelerator.num_processes > 1:
            local = torch.tensor([values], dtype=torch.float64, device=self.accelerator.device)
            values = self.accelerator.gather(local).amax(dim=0).tolist()
        self._clock = values[2]
        return int(values[0]), values[1] > 0

    def _is_due(self, last: tuple[int, float], steps: int, minutes: float) -> bool:
        by_steps = steps > 0 and self.step // steps > last[0] // steps
        return by_steps or (minutes > 0 and self._clock - last[1] >= 60 * minutes)

    def _report(self) -> None:
        """Report and log the steps since the last report."""
        report = self._current_report()
        self._loss.zero_()
        self._count = 0
        self._reported_at = (self.step, self.seconds)
        self.callback.on_report(report)
        self._log_event("report", report)

    def _current_report(self) -> Report:
        loss = self.accelerator.reduce(self._loss / self._count, "mean").item()
        lr = self.optimizer.param_groups[0]["lr"]
        step, seconds = self._reported_at
        speed = self.recipe.batch * (self.step - step) / max(self.seconds - seconds, 1e-9)
        progress = min(self.progress, 1.0)  # the last step may exceed a budget in minutes
        used = self.seconds - self._start["seconds"]
        if not math.isfinite(loss):
            self._raise_diverged(f"loss is {loss}")
        return Report(
            step=self.step,
            loss=loss,
            lr=lr,
            seconds=self.seconds,
            images_per_second=speed,
            progress=progress,
            pixels=self.pixels,
            pixels_per_second=speed * self.recipe.patch**2,
            seconds_left=max(used * (1 - progress) / progress, 0.0),
        )

    @torch.no_grad()
    def _check_weights(self) -> None:
        """Raise if the output is NaN or Inf.

        The last loss was computed before the last update of the weights.
        """
        with self._autocast():
            if not bool(self.network(self._sample).isfinite().all()):
                self._raise_diverged("output is NaN or Inf")

    def _raise_diverged(self, reason: str) -> NoReturn:
        raise TrainingError(
            f"{reason} at step {self.step}; resume the last good state in {self.folder / 'states'} with --resume and a "
            "lower lr, clip=1 or precision=fp32"
        )

    def _log_event(self, kind: str, event: Report | Validation) -> None:
        if self.accelerator.is_main_process:
            try:
                self.log.write(kind, event)
            except OSError as error:
                self.callback.on_message(
                    f"{self.folder / 'log.jsonl'}: cannot be written ({error.strerror}); training continues"
                )

    def _validate(self) -> None:
        self._validated_at = (self.step, self._clock)
        if self.valid_set is None:
            return
        self._check_weights()
        if self.accelerator.is_main_process:
            try:
                result = evaluate(self.ema.model, self.valid_set)
            except (LAMNetError, OSError) as error:
                self.callback.on_message(f"validation failed: {error}; training continues")
            else:
                best = self._best is None or result.psnr > self._best
                validation = Validation(
                    self.step, result.psnr, result.ssim, result.dataset, self.seconds, best, self.pixels
                )
                self.callback.on_validation(validation)
                self._log_event("validation", validation)
                if best:
                    self._export_best(validation)
        self.accelerator.wait_for_everyone()

    def _export_best(self, validation: Validation) -> None:
        try:
            self._export("best", psnr=validation.psnr, dataset=validation.dataset)
        except OSError as error:
            self.callback.on_message(f"the best weights were not saved ({error}); training continues")
        else:
            self._best = validation.psnr

    def _save(self, last: bool = False) -> None:
        """Save a state; ignore a failure unless it is the last state."""
        self._saved_at = (self.step, self._clock)
        self._check_weights()
        if not self.accelerator.is_main_process:
            return
        state = {
            "model": self.network.state_dict(),
            "ema": self.ema.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best": self._best,
            "validated": self._validated_at,
            "loss": (self._loss.item(), self._count),
            "data": self.store.digest,
            **self._counters(),
        }
        try:
            save_state(self.folder / "states", self.step, state, self.recipe.keep)
            self._export("last")
        except OSError as error:
            if last:
                raise
            self.callback.on_message(
                f"the state of step {self.step} was not saved ({error}); training continues, earlier states are kept"
            )

    def _counters(self) -> dict[str, Any]:
        """Return the entries of a state that describe the training."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "pixels": self.pixels,
            "start": self._start,
            "part": self._part,
            "recipe": asdict(self.recipe),
            "hardware": _hardware(self.accelerator),
            "before": self._init_info,
        }

    def _branch_state(self) -> dict[str, Any]:
        """Return the newest state of a decay branch, initially a copy of the trunk's newest state.

        In a new branch, set the recipe's learning rate from that state.
        """
        states, is_new = self.folder / "states", not (self.folder / "recipe.yaml").is_file()
        with self.accelerator.main_process_first():
            if self.accelerator.is_main_process and load_state(states) is None:
                state = branch_state(self.recipe, self.store.digest, len(self.store.names))
                states.mkdir(parents=True, exist_ok=True)
                write_state(states, state)
        state = load_state(states)
        if is_new:
            start = state.get("start", ZERO_COUNTERS)
            if start["step"] != state["step"]:
                raise TrainingError(f"{states} contains states of another run: choose another output folder")
            self.recipe = replace(self.recipe, lr=start["lr"])
        return state

    def _restore(self, state: dict[str, Any]) -> None:
        if state["data"] != self.store.digest:
            raise TrainingError(other_images(self.recipe, self.folder))
        state = begin_part(state, self.recipe, len(self.store.names))
        self.network.load_state_dict(state["model"])
        self.ema.model.load_state_dict(state["ema"])
        load_optimizer_state(self.optimizer, state["optimizer"])
        for group in self.optimizer.param_groups:
            group["betas"] = self.recipe.betas
        if state["scaler"]:  # empty unless the precision was fp16
            self.scaler.load_state_dict(state["scaler"])
        self.step, self._seconds = state["step"], state["seconds"]
        self._best = state["best"] if is_validated_alike(state, self.recipe) else None
        self.pixels = state.get("pixels", self.step * self.recipe.pixels_per_step)
        self._validated_at = tuple(state.get("validated", (self.step, self._seconds)))
        self._start = state.get("start", ZERO_COUNTERS)
        self._part = state.get("part", self._start)
        self._init_info = state["before"]
        loss, self._count = state["loss"]
        self._loss.fill_(loss)
        set_random_state(state["random"])
        self.callback.on_message(f"resumed at step {self.step}")

    def _export(self, name: str, **metadata: Any) -> None:
        """Write the averaged weights as a checkpoint with training metadata."""
        training = part_metadata(self._counters(), len(self.store.names))
        save_checkpoint(self.ema.model, self.folder / f"{name}.safetensors", training=training | metadata)

    def _check_batch(self) -> None:
        recipe, processes = self.recipe, self.accelerator.num_processes
        if recipe.batch % (recipe.accumulate * processes):
            raise TrainingError(
                f"batch must be a multiple of accumulate × processes ({recipe.accumulate} × {processes}), "
                f"got {recipe.batch}"
            )

    def _validation_set(self, holdout_set: Dataset | None) -> Dataset | None:
        try:
            return validation_set(self.recipe, self.scale, holdout_set)
        except LAMNetError as error:
            self.callback.on_message(f"validation disabled: {error}")
            return None

    def _open_images(self, train_set: Dataset) -> None:
        accelerator = self.accelerator
        sources = ", ".join(one_line(source) for source in self.recipe.data)
        self.callback.on_message(f"reading {quantity(len(train_set.pairs), 'image')} from {sources}")

        def show(done: int, total: int) -> None:
            if done % _DECODED_EVERY == 0:
                self.callback.on_message(f"decoded {done} of {quantity(total, 'image')}")

        with accelerator.local_main_process_first():  # the first process decodes, the others read its store
            self.store = open_store(train_set, self.recipe.patch, show, targets=self.recipe.targets)
        self._host_store = self.store
        for problem in self.store.problems:
            self.callback.on_message(f"image skipped: {problem}")
        if accelerator.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info()
            if self.store.nbytes < _DEVICE_SHARE * free:
                self.store = self.store.to(accelerator.device)
        images = quantity(len(self.store.names), "image")
        self.callback.on_message(f"{images}, {quantity(round(len(self.store.hr) / 1e6), 'megapixel')}")


def _hardware(accelerator: Accelerator) -> str:
    if accelerator.device.type == "cuda":
        device = torch.cuda.get_device_name()
    else:
        device = f"{accelerator.device.type}, {torch.get_num_threads()} threads"
    return f"{accelerator.num_processes} × {device}" if accelerator.num_processes > 1 else device


# Start or resume a run


def train(
    recipe: Recipe | str | os.PathLike = "quick",
    output: str | os.PathLike = "runs/lamnet",
    *,
    resume: bool = False,
    callback: TrainingCallback | None = None,
    decay_from: str | os.PathLike | None = None,
    **overrides: Any,
) -> TrainingResult:
    """Train a model.

    Writes ``recipe.yaml``, ``log.jsonl``, averaged weights in ``last.safetensors`` and ``best.safetensors``, and
    ``states/`` for resuming. Under a launcher such as torchrun, call this function in every process; it starts no
    processes itself.

    Args:
        recipe: A recipe, its name (``"quick"``, ``"budget"``, ``"paper_x2"`` …), or a YAML file.
        output: Folder of the run.
        resume: Whether to resume the run in ``output`` with the recipe saved there. Without a saved state the run
            starts at step 0.
        callback: Receives reports, validations and messages.
        decay_from: Folder of another run, which may be in progress. Training continues from a copy of its newest state
            with its recipe, and the learning rate falls linearly to zero over the budget in ``overrides``. ``recipe``
            is ignored.
        **overrides: Recipe fields to change.

    Returns:
        Summary of the run.

    Raises:
        TrainingError: If the run cannot start, diverges, or another process trains in ``output``.
        LAMNetError: If the data or initial weights cannot be loaded.
        OSError: If the last state cannot be written.
    """
    folder, callback = Path(output), callback or NullCallback()
    state = join_processes()
    on_message = callback.on_message if state.is_main_process else NullCallback().on_message
    with detect_lost_process(), lock_folder(folder, state, on_message):
        exists = (folder / "recipe.yaml").is_file()
        if exists and not resume:
            raise TrainingError(f"{folder} contains a run: resume it with --resume, or choose another folder")
        if resume and exists:
            recipe = load_recipe(folder / "recipe.yaml")
            if decay_from is not None and Path(decay_from).resolve() != Path(recipe.decay_from or folder).resolve():
                source = recipe.decay_from or "none"
                raise TrainingError(f"decay_from must be that of the run in {folder}, {source}, got {decay_from}")
        elif decay_from is not None:
            recipe, overrides = branch_recipe(decay_from, overrides), {}
        elif not isinstance(recipe, Recipe):
            recipe = load_recipe(recipe)
        return Trainer(recipe.with_overrides(overrides), folder, callback).run()
