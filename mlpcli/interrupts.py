"""Requests to stop, and the signals that make them."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

# Those by which terminals, shells and batch systems ask a process to go; not all systems have all.
# SIGQUIT (Ctrl-\\) is none of them: it ends at once, as anywhere.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
PYTHONS_OWN = (signal.SIG_DFL, signal.default_int_handler)
REPEATED = {getattr(signal, "SIGXCPU", None)}


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
    """Yield a stop request that any of SIGNALS makes; a second one ends the process at once.

    The first does so too, unless the work has set `can_save`. One that is ignored, as SIGHUP under
    nohup, stays ignored. SIGXCPU, of which the system sends one per second, counts once.
    """
    stop = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        # An exception raised here would be lost while a module is being imported.
        if not stop.can_save:
            with contextlib.suppress(OSError):
                os.write(2, b"error: interrupted before the first step\n")
            os._exit(128 + number)
        if stop.asked() is None:
            stop.request(number)
        elif number not in REPEATED:
            os._exit(128 + number)

    previous = {
        number: signal.signal(number, handle)
        for number in SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def stop_in_program() -> Iterator[StopRequest]:
    """Yield a stop request that SIGNALS make, for work inside a program that is not ours.

    A second signal does what it would do without us, and the first too, unless the work has set
    `can_save`. Handlers of the program's own are left alone, as are threads that cannot set one.
    """
    stop = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.asked() is None and stop.can_save:
            stop.request(number)
        elif stop.asked() is None or number not in REPEATED:
            signal.signal(number, previous[number])
            signal.raise_signal(number)

    in_main_thread = threading.current_thread() is threading.main_thread()
    previous = {
        number: signal.getsignal(number)
        for number in SIGNALS
        if in_main_thread and signal.getsignal(number) in PYTHONS_OWN
    }
    for number in previous:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
