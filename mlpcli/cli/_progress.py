"""Progress output: a bar on a terminal, and lines above it."""

from __future__ import annotations

import contextlib
from typing import Self

import click

from mlpcli.errors import printable


class Bar:
    """A progress bar on a terminal, and lines; with `quiet` only warnings."""

    unit, unit_scale = "it", False

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def __enter__(self) -> Self:
        from tqdm import tqdm

        self.bar = tqdm(
            unit=self.unit,
            unit_scale=self.unit_scale,
            leave=False,
            dynamic_ncols=True,
            disable=self.quiet or None,  # None: no bar where there is no terminal
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

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
