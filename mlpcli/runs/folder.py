"""A run's folder: its configuration, metrics, summary, environment, checkpoints, and its lock."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import logging
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlpcli.config.loading import to_yaml
from mlpcli.config.settings import Config
from mlpcli.errors import CheckpointError, MlpcliError, printable
from mlpcli.files import (
    DATA_DIR,
    data_dir,
    followed,
    make_folder,
    open_own,
    reason,
    replacing,
    sync,
    sync_folder,
    writing,
)
from mlpcli.runs import reading
from mlpcli.runs.reading import HEADER, METRICS, Row

log = logging.getLogger(__name__)

CHECKPOINTS = ("last.npz", "previous.npz", "best.npz")
BESIDE_RUNS = ("lock", "report.html", "sweep.csv")  # files in a folder of runs
MAX_METRICS_BYTES = 2**27  # over a million epochs
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
        self.texts = (
            self.config_file,
            self.metrics,
            self.summary,
            self.environment,
            self.note,
        )
        self.checkpoints = folder / "checkpoints"
        self.last, self.previous, self.best = (self.checkpoints / name for name in CHECKPOINTS)

    def write_config(self, config: Config) -> None:
        """Write the resolved configuration, which `mlpcli train` reads back to the same."""
        _write(self.config_file, to_yaml(config))

    def write_environment(self, environment: dict[str, Any], keep_as: Path | None = None) -> None:
        """Write what results depend on; what stood there is kept as `keep_as`, if given."""
        _write(self.environment, json.dumps(environment, indent=2) + "\n", keep_as)

    def write_summary(self, summary: dict[str, Any]) -> None:
        _write(self.summary, json.dumps(summary, indent=2) + "\n")

    def write_note(self, note: str) -> None:
        """Write what the user notes on the run; bytes that are not UTF-8 stay what they are."""
        with replacing(self.note) as file:
            file.write(f"{note}\n".encode(errors="surrogateescape"))

    def epochs(self) -> list[Row]:
        """Return the rows of metrics.csv so far, by the names METRICS.

        Raises CheckpointError where they are not the numbers that training writes.
        """
        return reading.read_rows(self.metrics)


def _write(file: Path, text: str, keep_as: Path | None = None) -> None:
    with replacing(file, keep_as) as new:
        new.write(text.encode())


class Metrics:
    """`metrics.csv`: a row is appended per epoch, to one file that others may follow as it grows.

    Anything else that is found there is kept in a file beside it, and said to be there by `warn`.
    """

    def __init__(self, run: Run, epochs: int, warn: Callable[[str], object]) -> None:
        """Cut the file back to its header and the rows of the first `epochs` epochs: `rows`."""
        self._path, self._warn, self.rows = run.metrics, warn, 0
        self._content = bytearray(HEADER)
        with writing(self._path), open_own(self._path) as file:
            size = os.fstat(file.fileno()).st_size
            understood = size <= MAX_METRICS_BYTES
            reader = io.BufferedReader(io.FileIO(file.fileno(), closefd=False))
            for line, row in reading.lines(reader) if understood else ():
                if row is None:
                    understood = False
                elif (row["epoch"] or 0) <= epochs:
                    self._content += line
                    self.rows += 1
            self._on_disk = min(size, len(self._content)) if understood else -1
            if understood and size > self._on_disk:
                file.truncate(self._on_disk)
        self.save()

    def append(self, row: dict[str, Any]) -> None:
        """Append an epoch's row; where it cannot be written raises MlpcliError, and keeps it."""
        values = (row[name] for name in METRICS)
        line = ",".join("" if value is None else str(value) for value in values)
        self._content += f"{line}\n".encode()
        self._write()

    def save(self) -> None:
        """Have all rows on disk; raises MlpcliError where they cannot be written."""
        self._write(durable=True)

    def _write(self, *, durable: bool = False) -> None:
        """Write what the file does not hold yet, or all of it where the file is another."""
        with writing(self._path), open_own(self._path) as file:
            found = os.fstat(file.fileno())
            if found.st_size == self._on_disk and found.st_nlink == 1:
                file.seek(self._on_disk)
                rest = bytes(self._content[self._on_disk :])
                try:
                    while rest:
                        rest = rest[file.write(rest) :]
                except OSError:
                    file.truncate(self._on_disk)
                    raise
                self._on_disk = len(self._content)
                if durable:
                    sync(file.fileno())
                return
        # One that has other names too, as in a copy made of hard links, is left to them.
        old = unused(self._path) if found.st_size and found.st_nlink == 1 else None
        with replacing(self._path, keep_as=old) as new:
            new.write(self._content)
        self._on_disk = len(self._content)
        if old:
            self._warn(f"{self._path}: holds more than rows of this run; it is kept as {old.name}")


def unused(path: Path) -> Path:
    """Return a name beside `path` that no file has."""
    names = (f"{path.name}.old{number or ''}" for number in itertools.count())
    return next(path.with_name(name) for name in names if not os.path.lexists(path.parent / name))


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
        make_folder(runs_dir)
        taken = _numbers(runs_dir, name)
        number = max(taken.values(), default=0)
        while True:
            number += 1
            run = Run(runs_dir / f"{name}-{number}")
            with contextlib.suppress(FileExistsError):  # another process made it first
                run.folder.mkdir()
                run.checkpoints.mkdir()
                sync_folder(run.folder)
                sync_folder(runs_dir)
                break
    except OSError as error:
        found = f"{runs_dir}: no run can be made there: {reason(error)}"
        raise MlpcliError(f"{found}; --runs-dir names another folder") from None
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


def containing(path: Path) -> Run | None:
    """Return the run whose folder `path` is, or in whose folder it lies; None if there is none."""
    full = path if len(path.parts) > 2 else path.absolute()
    folders = [path]
    if path.is_file() or (path.is_dir() and path.name == "checkpoints"):
        folders += [full.parent, full.parent.parent][: 1 + (full.parent.name == "checkpoints")]
    return next((run for run in map(Run, folders) if run.config_file.is_file()), None)


def open_run(path: Path) -> Run:
    """Return the run whose folder `path` is, or one of whose files or folders it is.

    Raises CheckpointError where there is none.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such run or checkpoint")
    if (run := containing(followed(path))) is None:
        several = path.is_dir() and any(path.glob("*/config.yaml"))
        raise CheckpointError(
            f"{path}: found a folder of runs, expected one of them"
            if several
            else f"{path}: not a run's folder: it has no config.yaml",
            hint=f"mlpcli runs {shlex.quote(str(path))}" if several else None,
        )
    return run


def run_and_checkpoint(path: Path) -> tuple[Run, Path]:
    """Return the run that `open_run` does, and the checkpoint that `path` is, or else its last.

    Raises CheckpointError as `open_run` does.
    """
    run = open_run(path)
    return run, path if _is_checkpoint(path) else run.last


def find(path: Path, runs_dir: Path | None = None) -> Path:
    """Return `path`, or what `runs_dir`, by default `runs`, holds by that name if nothing else."""
    inner = (runs_dir or Path("runs")) / path
    return inner if not path.exists() and inner.exists() else path


def best_of(path: Path) -> Path:
    """Return `path` if it is a checkpoint, else the best one of the run that `open_run` returns."""
    path = find(path)
    return path if _is_checkpoint(path) else open_run(path).best


def _is_checkpoint(path: Path) -> bool:
    """Whether `path` is meant as a checkpoint: it is neither a folder nor another file of a run."""
    others = {file.name for file in Run(path).texts}
    return not path.is_dir() and not (path.name in others and containing(path))


def runs_of(path: Path) -> list[Run]:
    """Return the run whose folder `path` is, or all runs in it, as a sweep's folder holds them.

    Those in a folder of runs come in the order of their numbers. None is returned for a file that
    mlpcli itself writes into such a folder, as `runs/*` names it. Raises CheckpointError where none
    has finished an epoch.
    """
    if path.is_file() and path.name in BESIDE_RUNS and containing(path) is None:
        return []
    if containing(path) or not path.is_dir():
        return [open_run(path)]
    found = [Run(each) for each in path.iterdir() if Run(each).config_file.is_file()]
    if not any(run.best.exists() for run in found):
        raise CheckpointError(f"{path}: neither a run's folder nor one that holds finished runs")
    return sorted(found, key=lambda run: (len(run.folder.name), run.folder.name))
