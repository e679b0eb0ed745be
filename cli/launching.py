"""Launcher of ``lamnet train --processes N``: N worker processes on this machine.

torchrun and ``accelerate launch`` are unsuitable: they end the workers on SIGUSR1, kill them 30 seconds after SIGTERM,
and discard their exit codes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import IO

from .output import print_error

PEER_LOST = 75
"""Exit code of a worker that failed because another worker was lost."""

_WORKER = "LAMNET_WORKER"
_GRACE = 30.0
"""Seconds for the other workers to exit after the first one."""


def is_worker() -> bool:
    """Return whether this process was started by ``launch``."""
    return _WORKER in os.environ


def exit_with_launcher() -> None:
    """Exit this worker when its launcher exits, which closes the pipe to standard input."""

    def wait() -> None:
        with suppress(OSError):
            while os.read(0, 1):
                pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def launch(command: list[str], processes: int) -> int:
    """Run a command in several processes of one process group, until all have exited.

    SIGINT, SIGTERM and SIGUSR1 are forwarded to all. When a process fails, the others are killed and its error is
    printed in one line. Rank 0 shares the standard output and error of this process; the output of the others is
    hidden.

    Args:
        command: The command line.
        processes: Number of processes.

    Returns:
        Exit code of the failed process, or 128 + signal number if a signal stopped all processes or killed one.
    """
    import torch

    # This process serves the store, on a free port, as torchrun does.
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {
        _WORKER: "1",
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // processes)),
    }
    if sys.platform == "linux":
        shared["GLOO_SOCKET_IFNAME"] = "lo"  # independent of the network
    workers: list[_Worker] = []
    try:
        for rank in range(processes):
            workers.append(_Worker(command, rank, shared))
        return _wait(workers)
    finally:
        for worker in workers:
            worker.close()


class _Worker:
    """A worker process."""

    def __init__(self, command: list[str], rank: int, environment: dict[str, str]) -> None:
        self.rank = rank
        self._errors: IO[str] | None = None if rank == 0 else tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            command,
            env=os.environ | environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.PIPE,
            stdout=None if rank == 0 else subprocess.DEVNULL,
            stderr=self._errors,
            start_new_session=True,  # Ctrl+C reaches only this process, which forwards it
        )

    def report(self) -> None:
        """Print why the process failed, unless its output was visible."""
        code = self.process.returncode
        if code < 0:
            print_error(f"process {self.rank} was killed by {signal.Signals(-code).name}; resume with --resume")
        elif self._errors:
            self._errors.seek(0)
            text = self._errors.read().rstrip()
            *_, last = text.splitlines() or [f"exit code {code}"]
            prefix = "lamnet: error: "
            if not last.startswith(prefix):
                print(text, file=sys.stderr)
            print_error(f"process {self.rank}: {last.removeprefix(prefix)}")

    def close(self) -> None:
        """Kill the process if it is running."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        if self._errors:
            self._errors.close()


def _wait(workers: list[_Worker]) -> int:
    """Wait for all workers or the first failure, and return the exit code."""
    stop = 0

    def forward(number: int, _: FrameType | None) -> None:
        nonlocal stop
        if number != usr1:
            stop = number
        for worker in workers:
            worker.process.send_signal(number)

    usr1 = getattr(signal, "SIGUSR1", None)  # not on Windows
    previous = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM, usr1) if number}
    try:
        deadline = None
        while True:
            running = [worker for worker in workers if worker.process.poll() is None]
            exited = [worker for worker in workers if worker.process.returncode]  # neither None nor 0
            failed = [worker for worker in exited if worker.process.returncode not in (PEER_LOST, 128 + stop, -stop)]
            killed = [worker for worker in failed if worker.process.returncode < 0]
            if exited and deadline is None:
                deadline = time.monotonic() + _GRACE
            if killed or not running or (deadline is not None and time.monotonic() > deadline):
                break
            time.sleep(0.05)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if cause := next(iter(killed or failed), None):
        cause.report()
        code = cause.process.returncode
        return 128 - code if code < 0 else code
    if exited and not stop:  # all failed with PEER_LOST
        print_error("the processes lost their connection; resume with --resume")
        return 1
    return 128 + stop if exited else 0
