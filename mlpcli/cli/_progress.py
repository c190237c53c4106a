"""Progress output: a bar on a terminal, and lines above it."""

from __future__ import annotations

import contextlib
from typing import Self

import click

from mlpcli.cli._options import is_quiet
from mlpcli.errors import printable


class Bar:
    """A progress bar on a terminal, and lines; with `-q` only warnings."""

    unit, unit_scale = "it", False

    def __init__(self) -> None:
        from tqdm import tqdm

        self.quiet = is_quiet()
        self.bar = tqdm(
            unit=self.unit,
            unit_scale=self.unit_scale,
            leave=False,
            dynamic_ncols=True,
            disable=self.quiet or None,  # None: no bar where there is no terminal
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def begin(self, total: int, done: int) -> None:
        self.bar.reset(total)
        self.bar.initial = self.bar.n = done
        self.bar.refresh()

    def say(self, line: str) -> None:
        if not self.quiet:
            self._print(line)

    def warn(self, text: str) -> None:
        self._print(f"warning: {printable(text)}")

    def _print(self, line: str) -> None:
        """Print a line above the bar; a closed standard error must not end the work."""
        with contextlib.suppress(OSError):
            self.bar.clear()
            click.echo(line, err=True)
