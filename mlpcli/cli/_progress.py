"""Progress output: what is being done, a bar on a terminal, and lines above it."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Any, Self

import click

from mlpcli.cli._options import is_quiet
from mlpcli.errors import printable

REFRESH_SECONDS = 0.1
UNKNOWN_SIZE = {"ncols": 79, "nrows": 24}  # assumed where a terminal reports 0 columns


class Bar:
    """A status or a progress bar on a terminal, and lines; with `-q` only warnings.

    `layout` is tqdm's `bar_format` for a count that has begun; nothing is shown before.
    """

    layout = "{desc} {percentage:3.0f}% |{bar}| {remaining} left{postfix}"
    unit, unit_scale = "it", False

    def __init__(self) -> None:
        self.quiet = is_quiet()
        self.due = 0.0
        self.bar = self._shown(disable=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def status(self, text: str) -> None:
        """Show on a terminal what is being done, until something else is shown."""
        self.bar.close()
        self.bar = self._shown(desc=text, bar_format="{desc}")

    def begin(self, total: int | None, done: int) -> None:
        """Count from `done` to `total`; the bar appears with the first advance."""
        self.bar.close()
        self.due = time.monotonic() + REFRESH_SECONDS  # a speed needs some time to be measured
        self.bar = self._shown(
            total=total,
            initial=done,
            bar_format=self.layout,
            unit=self.unit,
            unit_scale=self.unit_scale,
            delay=1e-9,
        )

    def advance(self, done: int, **texts: str) -> None:
        """Show that this much is done, and `texts` as tqdm's `desc` and `postfix`."""
        self.due = time.monotonic() + REFRESH_SECONDS
        self.bar.desc, self.bar.postfix = texts.get("desc"), texts.get("postfix")
        self.bar.update(done - self.bar.n)

    @property
    def is_due(self) -> bool:
        """Whether there is a bar and it has not been refreshed for a tenth of a second."""
        return not self.bar.disable and time.monotonic() >= self.due

    def say(self, line: str) -> None:
        if not self.quiet:
            self._print(line)

    def warn(self, text: str) -> None:
        self._print(f"warning: {printable(text)}")

    def _shown(self, disable: bool = False, **settings: Any) -> Any:
        from tqdm import tqdm

        return tqdm(
            leave=False,
            **({"dynamic_ncols": True} if _reports_its_size() else UNKNOWN_SIZE),
            mininterval=0,
            miniters=0,
            smoothing=0.05,
            disable=disable or self.quiet or None,  # None: no bar where there is no terminal
            **settings,
        )

    def _print(self, line: str) -> None:
        """Print a line above the bar; a closed standard error must not end the work."""
        with contextlib.suppress(OSError):
            self.bar.clear()
            click.echo(line, err=True)


def _reports_its_size() -> bool:
    """Return False where standard error is a terminal of 0 columns, such as a serial line."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError):  # no terminal, so no bar either
        return True
