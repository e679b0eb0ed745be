"""Signals: asked to stop, asked to save."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class SignalHandler:
    """While it is entered, SIGTERM and SIGINT ask to save and stop, SIGUSR1 to save and go on, each at a step's end.

    A second SIGINT does not wait.

    Attributes:
        stop: Number of the signal that asked to stop; 0 for none.
        save: Whether to save.
    """

    def __init__(self) -> None:
        self.stop, self.save = 0, False
        self._before: dict[int, object] = {}

    def __enter__(self) -> SignalHandler:
        if threading.current_thread() is threading.main_thread():  # no other thread may set handlers
            for name in ("SIGTERM", "SIGINT", "SIGUSR1"):
                if number := getattr(signal, name, None):  # not every system has both
                    self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, _: FrameType | None) -> None:
        self.save = True
        if number in (signal.SIGTERM, signal.SIGINT):
            self.stop = int(number)
        if number == signal.SIGINT:
            signal.signal(number, self._before[number])
