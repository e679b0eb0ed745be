"""Process group of a training run under any launcher, and its signals."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

import psutil
import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from ..errors import TrainingError

_LAUNCHERS = (
    # torchrun, accelerate launch
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    # Open MPI
    (
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    # MVAPICH
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE"),
    # MPICH, Intel MPI
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    # SLURM: the number of tasks of the srun step; the batch script itself is one process
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"),
)
"""Environment variables for the rank, world size, local rank and local world size.

The first launcher whose world size is set is used.
"""


class ProcessLostError(TrainingError):
    """Failure of an exchange with another process of the run."""


def launched_processes() -> int:
    """Return the number of processes that a launcher started, from its environment variables.

    Raises:
        TrainingError: If a variable is not a number.
    """
    return _number(_names()[1], default=1)


def join_processes() -> PartialState:
    """Join the processes started by a launcher: NCCL on GPUs, gloo on CPUs.

    Without a launcher the run has one process. Calling it again returns the same state.

    Raises:
        TrainingError: If a launcher started several processes and they cannot join.
    """
    rank_name, size_name, local_rank_name, local_size_name = _names()
    size = _number(size_name, default=1)
    if size == 1:
        return _check_size(PartialState(), size)
    rank = _number(rank_name, below=size)
    local_rank = _number(local_rank_name, default=rank)
    local_size = _number(local_size_name, default=size)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(name):
            raise TrainingError(
                f"{name} must be set with {size_name}={size}: set MASTER_ADDR (host of rank 0) and MASTER_PORT, or use "
                "--processes"
            )
    values = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": local_rank, "LOCAL_WORLD_SIZE": local_size}
    os.environ.update({name: str(value) for name, value in values.items()})
    use_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not _has_gpu()
    if use_cpu and "OMP_NUM_THREADS" not in os.environ:  # by default each process would use all cores
        cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
        threads = min(torch.get_num_threads(), max(1, cores // local_size))
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)
    if not use_cpu and max(local_size, local_rank + 1) > (gpus := torch.accelerator.device_count()):
        raise TrainingError(
            f"processes on this machine must be at most its GPUs, {gpus}, got {max(local_size, local_rank + 1)}: start "
            "fewer, or set ACCELERATE_USE_CPU=1"
        )
    try:
        state = PartialState(cpu=True, backend="gloo") if use_cpu else PartialState()
    except (RuntimeError, ValueError) as error:
        raise TrainingError(f"RANK {rank} cannot join the {size} processes: {_first_line(error)}") from error
    return _check_size(state, size)


@contextmanager
def detect_lost_process() -> Iterator[None]:
    """Raise ProcessLostError for a failed exchange with another process."""
    try:
        yield
    except RuntimeError as error:  # gloo raises a plain RuntimeError, NCCL and the store a DistError
        if isinstance(error, torch.distributed.DistError) or "gloo" in str(error):
            raise ProcessLostError(
                f"another process of the run ended or is unreachable ({_first_line(error)}); resume with --resume"
            ) from error
        raise


def _names() -> tuple[str, str, str, str]:
    return next((names for names in _LAUNCHERS if os.environ.get(names[1])), _LAUNCHERS[0])


def _number(name: str, default: int | None = None, below: int | None = None) -> int:
    text = os.environ.get(name) or ("" if default is None else str(default))
    if not text.isdecimal() or (below is not None and int(text) >= below):
        limit = "" if below is None else f" below {below}"
        raise TrainingError(f"{name} must be a number{limit} under a launcher, got {text or 'none'}")
    return int(text)


def _check_size(state: PartialState, size: int) -> PartialState:
    if state.num_processes != size:
        raise TrainingError(
            f"WORLD_SIZE must be the number of joined processes, {state.num_processes}, got {size}: call train before "
            "any other use of accelerate"
        )
    return state


def _has_gpu() -> bool:
    return torch.accelerator.is_available() and torch.accelerator.current_accelerator().type != "mps"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


# Signals: save and stop, or save and continue


class SignalHandler:
    """Context manager that records signals for the end of the current step.

    SIGTERM and SIGINT request to save and stop, SIGUSR1 to save and continue. A second SIGINT interrupts at once.

    Attributes:
        stop: Number of the signal that requested a stop; 0 for none.
        save: Whether a save is requested.
    """

    def __init__(self) -> None:
        self.stop, self.save = 0, False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> SignalHandler:
        if threading.current_thread() is threading.main_thread():  # only the main thread may set handlers
            for name in ("SIGTERM", "SIGINT", "SIGUSR1"):
                if number := getattr(signal, name, None):  # SIGUSR1 does not exist on Windows
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.save = True
        if number in (signal.SIGTERM, signal.SIGINT):
            self.stop = int(number)
        if number == signal.SIGINT:
            signal.signal(number, self._previous[number])
