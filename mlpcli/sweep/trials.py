"""A sweep's folder: a run for each of its trials, what came of them, and the table of that.

Imports no NumPy.
"""

from __future__ import annotations

import io
import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpcli.config import loading as configuration
from mlpcli.config.loading import learned, short_names, text, values
from mlpcli.config.settings import Config
from mlpcli.errors import CheckpointError, ConfigError, InterruptedRunError
from mlpcli.files import replacing
from mlpcli.runs import folder as runs
from mlpcli.runs import tables
from mlpcli.runs.folder import Run
from mlpcli.runs.reading import read_summary
from mlpcli.runs.seeds import SeedAccuracies
from mlpcli.sweep.plan import TRIAL, Sweep, Trial

CSV = "sweep.csv"
FIGURES = ("val_accuracy", "val_loss", "best_epoch", "epochs", "seconds")


@dataclass(frozen=True)
class Outcome:
    """What came of a trial: its run's summary, or why it failed and with which exit code."""

    summary: dict[str, Any] | None = None
    error: str = ""
    exit_code: int = 0
    warnings: tuple[str, ...] = ()


@dataclass
class Entry:
    """A trial, its run, and its outcome as soon as there is one."""

    trial: Trial
    run: Run
    outcome: Outcome | None = None

    @property
    def state(self) -> str:
        """ "finished", "failed", or "unfinished": it has not ended yet."""
        if self.outcome is None:
            return "unfinished"
        return "failed" if self.outcome.summary is None else "finished"

    def row(self) -> dict[str, Any]:
        """Return its row of `sweep.csv`."""
        outcome = self.outcome or Outcome()
        figures = {name: (outcome.summary or {}).get(name) for name in FIGURES}
        return {
            **self.trial.values,
            "seed": self.trial.config.seed,
            "state": self.state,
            **figures,
            "run_dir": str(self.run.folder),
            "error": outcome.error or None,
        }


def interrupted(number: int, left: int) -> InterruptedRunError:
    """Return what a sweep raises that a signal stops with so many trials left."""
    name = signal.Signals(number).name
    text = f"{name}: {left} trials are left; the same command resumes them"
    return InterruptedRunError(number, text)


def entries(sweep: Sweep, folder: Path) -> list[Entry]:
    """Return all trials with their runs: one of the folder that is its own, or else a new one."""
    known: dict[tuple[Any, ...], Run] = {}
    own = (path for path in folder.iterdir() if re.fullmatch(rf"{TRIAL}-\d+", path.name))
    for run in map(Run, sorted(own, key=lambda path: int(path.name.rpartition("-")[2]))):
        if not run.config_file.is_file():  # a pipe would be waited for
            continue
        try:
            identity = _identity(configuration.load(run.config_file))
        except ConfigError:  # it was not made by a sweep, or was killed before it was complete
            continue
        if identity not in known or _summary(known[identity], identity) is None:
            known[identity] = run
    found = []
    for trial in sweep.trials:
        identity = _identity(trial.config)
        if identity in known:
            run = known[identity]
        else:
            run = runs.create(folder, TRIAL)
            run.write_config(trial.config)
        summary = _summary(run, identity)
        found.append(Entry(trial, run, None if summary is None else Outcome(summary)))
    return found


def _identity(config: Config) -> tuple[Any, ...]:
    """Return what two runs of one trial have in common, the place of its images too.

    A finished run is not read again, so images elsewhere are taken for others.
    """
    return learned(config), values(config).get("data.dir")


def _summary(run: Run, identity: tuple[Any, ...]) -> dict[str, Any] | None:
    """Return the summary of a run that has finished as that configuration, else None."""
    try:
        summary = read_summary(run.summary)
        config: Config = configuration.from_dict(summary["config"], str(run.folder))
    except (CheckpointError, ConfigError):
        return None
    return (
        summary if _identity(config) == identity and summary["val_accuracy"] is not None else None
    )


def write_csv(path: Path, sweep: Sweep, entries: Iterable[Entry]) -> None:
    """Write a row per trial, whatever its state; lists and null as `--set` reads them.

    The cell of an option that the trial's choice does not have is empty.
    """
    columns = (*sweep.keys, "seed", "state", *FIGURES, "run_dir", "error")
    rows = (
        entry.row() | {name: text(value) for name, value in entry.trial.values.items()}
        for entry in entries
    )
    file = io.StringIO()
    tables.write_csv(file, columns, rows)
    with replacing(path) as new:
        new.write(file.getvalue().encode())


@dataclass(frozen=True)
class Ranked:
    """A configuration, the validation accuracies of its trials that have finished, and how many
    trials it has, and how many of them failed.
    """

    values: dict[str, Any]
    accuracy: SeedAccuracies
    trials: int
    failed: int

    @property
    def complete(self) -> bool:
        """Whether the mean is that of all seeds: without those that failed it may be luck."""
        return len(self.accuracy.values) == self.trials

    @property
    def seeds(self) -> str:
        """How many seeds the mean and the standard deviation are of."""
        found = len(self.accuracy.values)
        return str(found) if self.complete else f"{found} of {self.trials}"

    def row(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {
            **self.values,
            "val_accuracy": self.accuracy.mean,
            "std": self.accuracy.std,
            "seeds": len(self.accuracy.values),
            "failed": self.failed,
            "complete": self.complete,
        }


def ranking(entries: Iterable[Entry]) -> list[Ranked]:
    """Return the configurations, seeds together: the best first.

    Those of which a seed failed, or has not finished, come after the complete ones.
    """
    groups: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in entries:
        groups.setdefault(tuple(entry.trial.values.items()), []).append(entry)
    ranked = []
    for group in groups.values():
        outcomes = [entry.outcome for entry in group if entry.outcome is not None]
        accuracies = [o.summary["val_accuracy"] for o in outcomes if o.summary is not None]
        failed = len(outcomes) - len(accuracies)
        ranked.append(Ranked(group[0].trial.values, SeedAccuracies(accuracies), len(group), failed))
    return sorted(ranked, key=lambda one: (one.complete, one.accuracy.rank), reverse=True)


def table(sweep: Sweep, ranked: list[Ranked]) -> str:
    """Return a row per configuration, with "–" for an option that its choice does not have."""
    rows = [[*short_names(sweep.keys), "validation accuracy", "seeds"]]
    for one in ranked:
        accuracy = "failed" if one.failed == one.trials else str(one.accuracy)
        varied = [text(one.values[key]) if key in one.values else "–" for key in sweep.keys]
        rows.append([*varied, accuracy, one.seeds])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
