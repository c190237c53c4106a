"""SIGINT and SIGTERM: the first waits until the work is saved, the second ends at once."""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruptions:
    """While open, remembers in `received` the number of the first signal to stop, or None.

    As long as there is nothing `to_save`, the first ends the process at once too.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.to_save = False
        self._before: list[Any] = []

    def __enter__(self) -> Interruptions:
        self._before = [signal.signal(number, self._remember) for number in SIGNALS]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in zip(SIGNALS, self._before, strict=True):
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        # An exception raised here would be lost where a module is just being imported.
        if not self.to_save:
            with contextlib.suppress(OSError):
                os.write(2, b"error: interrupted before the first step\n")
        if self.received is not None or not self.to_save:
            os._exit(128 + number)
        self.received = number
