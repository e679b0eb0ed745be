"""Signal handling: save and stop, or save and continue."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


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
