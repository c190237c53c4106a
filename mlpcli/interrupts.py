"""Requests to stop, and the signals that make them."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Asks running work to save its state and stop, from a signal handler or any thread."""

    def __init__(self) -> None:
        self._signal_number: int | None = None
        self.can_save = False  # set by the work, once there is a state to save

    def request(self, signal_number: int) -> None:
        """Ask to stop, as this signal does; the exit code becomes 128 + its number."""
        self._signal_number = signal_number

    def asked(self) -> int | None:
        """Return the signal number of the request, or None if there was no request."""
        return self._signal_number


@contextlib.contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Yield a stop request that SIGINT or SIGTERM makes; a second signal ends the process at once.

    The first signal does so too, unless the work has set `can_save`.
    """
    stop = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        # An exception raised here would be lost while a module is being imported.
        if not stop.can_save:
            with contextlib.suppress(OSError):
                os.write(2, b"error: interrupted before the first step\n")
        if stop.asked() is not None or not stop.can_save:
            os._exit(128 + number)
        stop.request(number)

    previous = [signal.signal(number, handle) for number in SIGNALS]
    try:
        yield stop
    finally:
        for number, handler in zip(SIGNALS, previous, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def stop_on_ctrl_c() -> Iterator[StopRequest]:
    """Yield a stop request that Ctrl-C makes, for work inside a program that is not ours.

    A second Ctrl-C raises KeyboardInterrupt at once, and the first too, unless the work has set
    `can_save`. A handler of the program's own is left alone, as are threads that cannot set one.
    """
    stop = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.asked() is not None or not stop.can_save:
            raise KeyboardInterrupt
        stop.request(number)

    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield stop
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
