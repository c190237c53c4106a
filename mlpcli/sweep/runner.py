"""Runs a sweep: its trials in one folder, and the table of what came of them.

Imports no NumPy, and no Dask: whoever calls says how trials are trained.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Protocol

from mlpcli.errors import FailedTrialsError, MlpcliError
from mlpcli.files import followed, locked, make_folder, remove_stale, writing
from mlpcli.sweep import trials
from mlpcli.sweep.plan import Sweep
from mlpcli.sweep.trials import Entry

CSV_SECONDS = 1  # between two writes of sweep.csv: a sweep may have thousands of trials

Train = Callable[[Sequence[Entry]], Generator[Entry, None, None]]


class Reporter(Protocol):
    """Shows a sweep as it goes."""

    def start(self, count: int, waiting: int) -> None: ...
    def trial(self, entry: Entry) -> None: ...
    def warn(self, text: str) -> None: ...


def run(plan: Sweep, folder: Path, train: Train, reporter: Reporter) -> list[Entry]:
    """Train the trials that have not finished; return all of them, with their outcomes.

    `train` yields each trial as it ends. `sweep.csv` is written on the way and at the end, whatever
    the end is. Raises LockedError while another process runs the sweep.
    """
    folder = followed(folder)
    with writing(folder, "made"):
        make_folder(folder)
    with locked(folder, reporter.warn):
        remove_stale(folder)
        entries = trials.entries(plan, folder)
        waiting = [entry for entry in entries if entry.outcome is None]
        reporter.start(len(entries), len(waiting))
        due = 0.0
        try:
            with contextlib.closing(train(waiting)) as finished:
                for entry in finished:
                    reporter.trial(entry)
                    if time.monotonic() < due:
                        continue
                    try:
                        trials.write_csv(folder / trials.CSV, plan, entries)
                    except MlpcliError as error:
                        reporter.warn(f"{error}; the sweep continues")
                    due = time.monotonic() + CSV_SECONDS
        finally:
            trials.write_csv(folder / trials.CSV, plan, entries)
    return entries


def require_success(entries: Sequence[Entry]) -> None:
    """Raise FailedTrialsError, with the exit code of the first, if trials failed."""
    failed = [entry for entry in entries if entry.outcome and entry.outcome.error]
    if failed and (first := failed[0].outcome):
        raise FailedTrialsError(
            first.exit_code,
            f"{len(failed)} of {len(entries)} trials failed: {failed[0].run.folder}: {first.error}",
        )
