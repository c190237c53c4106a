"""SIGINT and SIGTERM: the first waits until the work is saved, the second ends at once."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruptions:
    """While open, remembers in `received` the number of the first signal to stop, or None."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: list[Any] = []

    def __enter__(self) -> Interruptions:
        self._before = [signal.signal(number, self._remember) for number in SIGNALS]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in zip(SIGNALS, self._before, strict=True):
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(128 + number)
        self.received = number
