"""A run's folder: its configuration, metrics, summary, environment, checkpoints, and its lock."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpcli.config import Config, to_yaml
from mlpcli.errors import CheckpointError, LockedError, MlpcliError
from mlpcli.files import replacing

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


@dataclass(frozen=True)
class Run:
    """`runs/<name>-<number>/`."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.csv"

    @property
    def last(self) -> Path:
        return self.folder / "checkpoints" / "last.npz"

    @property
    def best(self) -> Path:
        return self.folder / "checkpoints" / "best.npz"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; raises LockedError, naming the holder, if taken."""
        path = self.folder / "lock"
        try:
            file = path.open("a+")
        except OSError as error:
            raise MlpcliError(f"{path}: cannot be written: {error.strerror}") from None
        with file:  # closing the file, or the end of the process, gives the lock back
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read(20).strip() or "unknown"
                raise LockedError(f"{self.folder}: in use by process {holder}") from None
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    def write_config(self, config: Config) -> None:
        """Write the resolved configuration; `mlpcli train` takes it as it is."""
        self._write("config.yaml", to_yaml(config))

    def write_environment(self, environment: dict[str, Any]) -> None:
        self._write("environment.json", json.dumps(environment, indent=2) + "\n")

    def write_summary(self, summary: dict[str, Any]) -> None:
        self._write("summary.json", json.dumps(summary, indent=2) + "\n")

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add an epoch's row to metrics.csv."""
        try:
            with self.metrics.open("a", newline="") as file:
                csv.DictWriter(file, METRICS, lineterminator="\n").writerow(row)
        except OSError as error:
            raise MlpcliError(f"{self.metrics}: cannot be written: {error.strerror}") from None

    def cut_metrics(self, epochs: int) -> None:
        """Keep the header and the rows of the first `epochs` epochs: none is lost or doubled."""
        rows: list[dict[str, str]] = []
        if self.metrics.exists():
            with self.metrics.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if _is_within(row, epochs)]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, METRICS, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        self._write("metrics.csv", text.getvalue())

    def _write(self, name: str, text: str) -> None:
        with replacing(self.folder / name) as file:
            file.write(text.encode())


def create(runs_dir: Path, name: str) -> Run:
    """Make `runs_dir/<name>-<number>/`, numbered one above the highest there is."""
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        taken = (re.fullmatch(rf"{re.escape(name)}-(\d+)", p.name) for p in runs_dir.iterdir())
        number = max((int(match[1]) for match in taken if match), default=0) + 1
        while True:
            run = Run(runs_dir / f"{name}-{number}")
            try:
                run.folder.mkdir()
            except FileExistsError:  # another process was quicker
                number += 1
                continue
            run.last.parent.mkdir()
            return run
    except OSError as error:
        raise MlpcliError(f"{runs_dir}: no run can be made there: {error.strerror}") from None


def open_run(folder: Path) -> Run:
    """Return an existing run; raises CheckpointError where `folder` is not one."""
    run = Run(folder)
    if not run.config.is_file():
        raise CheckpointError(f"{folder}: not a run's folder: it has no config.yaml")
    return run


def best_of(path: Path) -> Path:
    """Return the best checkpoint of a run's folder, or a file's path as it is."""
    return open_run(path).best if path.is_dir() else path


def _is_within(row: dict[str, str], epochs: int) -> bool:
    return row["epoch"].isdecimal() and int(row["epoch"]) <= epochs
