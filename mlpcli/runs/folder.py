"""A run's folder: its configuration, metrics, summary, environment, checkpoints, and its lock."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlpcli.config.loading import to_yaml
from mlpcli.config.settings import Config
from mlpcli.errors import CheckpointError, MlpcliError, printable
from mlpcli.files import DATA_DIR, data_dir, reason, replacing, writing

log = logging.getLogger(__name__)

METRICS = (
    "epoch",
    "train/loss",
    "train/accuracy",
    "val/loss",
    "val/accuracy",
    "learning_rate",
    "images_per_second",
    "seconds",
)
CHECKPOINTS = ("last.npz", "previous.npz", "best.npz")
MAX_METRICS_BYTES = 2**24
MAX_NOTE = 1000  # characters


class Run:
    """`runs/<name>-<number>/`, and the paths of what is in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config_file = folder / "config.yaml"
        self.metrics = folder / "metrics.csv"
        self.summary = folder / "summary.json"
        self.environment = folder / "environment.json"
        self.note = folder / "note.txt"
        self.checkpoints = folder / "checkpoints"
        self.last, self.previous, self.best = (self.checkpoints / name for name in CHECKPOINTS)

    def write_config(self, config: Config) -> None:
        """Write the resolved configuration, which `mlpcli train` reads back to the same."""
        _write(self.config_file, to_yaml(config))

    def write_environment(self, environment: dict[str, Any]) -> None:
        _write(self.environment, json.dumps(environment, indent=2) + "\n")

    def write_summary(self, summary: dict[str, Any]) -> None:
        _write(self.summary, json.dumps(summary, indent=2) + "\n")

    def write_note(self, note: str) -> None:
        """Write what the user notes on the run; bytes that are not UTF-8 stay what they are."""
        with replacing(self.note) as file:
            file.write(f"{note}\n".encode(errors="surrogateescape"))

    def metrics_rows(self, epochs: float = math.inf) -> list[str]:
        """Return the complete lines of metrics.csv that belong to the first `epochs` epochs."""
        if not self.metrics.is_file() or self.metrics.stat().st_size > MAX_METRICS_BYTES:
            return []
        lines = self.metrics.read_text(errors="replace").splitlines()
        complete = [line for line in lines if line.count(",") == len(METRICS) - 1]
        numbered = [(re.match(r"([1-9]\d{0,8}),", line, re.ASCII), line) for line in complete]
        return [line for match, line in numbered if match and int(match[1]) <= epochs]

    def epochs(self) -> list[dict[str, float | None]]:
        """Return the rows of metrics.csv so far, by the names METRICS.

        Raises CheckpointError where they are not the numbers that training writes.
        """
        rows = []
        for line in self.metrics_rows():
            try:
                values = [float(text) if text else None for text in line.split(",")]
            except ValueError:
                raise CheckpointError(f"{self.metrics}: not numbers: {line[:60]}") from None
            rows.append(dict(zip(METRICS, values, strict=True)))
        return rows


def _write(file: Path, text: str) -> None:
    with replacing(file) as new:
        new.write(text.encode())


class Metrics:
    """`metrics.csv`: a row is appended per epoch, and all rows are rewritten at each save."""

    def __init__(self, run: Run, epochs: int) -> None:
        """Keep the header and the rows of the first `epochs` epochs, dropping later ones."""
        rows = run.metrics_rows(epochs)
        self._run, self.rows = run, len(rows)
        self._text = "\n".join([",".join(METRICS), *rows, ""])
        self.save()

    def append(self, row: dict[str, Any]) -> None:
        """Append an epoch's row; where it cannot be written raises MlpcliError, and keeps it."""
        values = (row[name] for name in METRICS)
        line = ",".join("" if value is None else str(value) for value in values) + "\n"
        self._text += line
        with writing(self._run.metrics), self._run.metrics.open("a") as file:
            file.write(line)

    def save(self) -> None:
        """Replace the file by all rows; raises MlpcliError where it cannot be written."""
        with replacing(self._run.metrics) as file:
            file.write(self._text.encode())


def with_data_dir(config: Config, chosen: str | Path | None, *, recorded: bool = False) -> Config:
    """Make `data.dir`, or `chosen` in its place, an absolute path; where both are None, it stays.

    A run can then be evaluated and resumed from any folder. Generated images have no directory.
    Where a directory that a run has `recorded` is not there, as on another machine, the one of
    $MLPCLI_DATA_DIR takes its place.
    """
    if config.data.name != "cifar10":
        return config
    own = config.data.dir
    if recorded and chosen is None and own and os.environ.get(DATA_DIR) and not Path(own).exists():
        chosen = data_dir(None)
        lost = printable(own)
        log.warning("warning: %s, the run's data.dir, is not there: using %s", lost, DATA_DIR)
    chosen = own if chosen is None else chosen
    if chosen is None:
        return config
    return replace(config, data=replace(config.data, dir=str(data_dir(chosen).absolute())))


def create(runs_dir: Path, name: str) -> Run:
    """Make `runs_dir/<name>-<number>/`, numbered one above the highest that there ever was.

    An empty file `.<name>-<number>` keeps the highest number, should its run be deleted.
    """
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        taken = _numbers(runs_dir, name)
        number = max(taken.values(), default=0)
        while True:
            number += 1
            run = Run(runs_dir / f"{name}-{number}")
            with contextlib.suppress(FileExistsError):  # another process made it first
                run.folder.mkdir()
                run.checkpoints.mkdir()
                break
    except OSError as error:
        raise MlpcliError(f"{runs_dir}: no run can be made there: {reason(error)}") from None
    with contextlib.suppress(OSError):  # the folder itself still keeps the number
        (runs_dir / f".{name}-{number}").touch()
        for path in taken:
            if path.startswith("."):
                (runs_dir / path).unlink(missing_ok=True)
    return run


def _numbers(runs_dir: Path, name: str) -> dict[str, int]:
    """Return the numbers of runs of that name by the names of their folders and hidden files."""
    pattern = re.compile(rf"\.?{re.escape(name)}-(\d+)")
    with os.scandir(runs_dir) as entries:
        matches = [pattern.fullmatch(entry.name) for entry in entries]
    return {match[0]: int(match[1]) for match in matches if match}


def open_run(folder: Path) -> Run:
    """Return an existing run; raises CheckpointError where `folder` is not one."""
    run = Run(folder)
    if not run.config_file.is_file():
        raise CheckpointError(f"{folder}: not a run's folder: it has no config.yaml")
    return run


def run_and_checkpoint(path: Path) -> tuple[Run, Path]:
    """Return a run and its last checkpoint, or the run of the checkpoint that `path` is.

    Raises CheckpointError where it is neither.
    """
    if path.is_file():
        full = path if len(path.parts) > 2 else path.absolute()
        return open_run(full.parent.parent), path
    run = open_run(path)
    return run, run.last


def find(path: Path, runs_dir: Path | None = None) -> Path:
    """Return `path`, or what `runs_dir`, by default `runs`, holds by that name if nothing else."""
    inner = (runs_dir or Path("runs")) / path
    return inner if not path.exists() and inner.exists() else path


def best_of(path: Path) -> Path:
    """Return the best checkpoint of the run that `find` finds, or a file's path as it is."""
    path = find(path)
    return open_run(path).best if path.is_dir() else path


def runs_of(path: Path) -> list[Run]:
    """Return the run whose folder `path` is, or all runs in it, as a sweep's folder holds them.

    Those in a folder of runs come in the order of their numbers, and only if they have finished an
    epoch. Raises CheckpointError where there is none.
    """
    if Run(path).config_file.is_file() or not path.is_dir():
        return [open_run(path)]
    found = [Run(each) for each in path.iterdir() if Run(each).config_file.is_file()]
    started = [run for run in found if run.best.exists()]
    if not started:
        raise CheckpointError(f"{path}: neither a run's folder nor one that holds finished runs")
    return sorted(started, key=lambda run: (len(run.folder.name), run.folder.name))
