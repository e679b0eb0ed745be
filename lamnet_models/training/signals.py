"""Signals: asked to stop, asked to save."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class Signals:
    """While it is entered, SIGTERM asks to save and stop and SIGUSR1 to save and go on; both wait for a step's end.

    Attributes:
        stop: Whether to stop.
        save: Whether to save.
    """

    def __init__(self) -> None:
        self.stop = self.save = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():  # no other thread may set handlers
            for name in ("SIGTERM", "SIGUSR1"):
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
        self.stop = self.stop or number == signal.SIGTERM
