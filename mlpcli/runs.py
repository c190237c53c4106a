"""A run's folder: its configuration, metrics, summary, environment, checkpoints, and its lock."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpcli.config import Config, to_yaml
from mlpcli.errors import CheckpointError, MlpcliError
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

    def metrics_rows(self, epochs: int) -> list[str]:
        """Return the whole lines of metrics.csv that belong to the first `epochs` epochs."""
        if not self.metrics.is_file():
            return []
        wanted = {str(epoch) for epoch in range(1, epochs + 1)}
        lines = self.metrics.read_text(errors="replace").splitlines()
        whole = [line for line in lines if line.count(",") == len(METRICS) - 1]
        return [line for line in whole if line.partition(",")[0] in wanted]

    def cut_metrics(self, epochs: int) -> None:
        """Keep the header and the rows of the first `epochs` epochs: none is lost or doubled."""
        lines = [",".join(METRICS), *self.metrics_rows(epochs)]
        self._write("metrics.csv", "".join(f"{line}\n" for line in lines))

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
