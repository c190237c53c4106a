"""What the folders of runs tell without loading a network: state, accuracy, time, note.

Imports no NumPy. A file that is missing, corrupt or unreadable leaves a gap, and stops no listing.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from mlpcli.config.loading import MAX_BYTES as MAX_CONFIG_BYTES
from mlpcli.errors import CheckpointError
from mlpcli.files import is_locked, reading
from mlpcli.runs.folder import MAX_NOTE, Run
from mlpcli.runs.provenance import DIVERGED
from mlpcli.runs.reading import Row, read_bytes, read_json, read_summary

# As `to_yaml` writes it. To parse the file would take most of the time that a listing needs.
EPOCHS = re.compile(r"^training:\n(?: .*\n)*? +epochs: (\d{1,9})$", re.MULTILINE | re.ASCII)


@dataclass(frozen=True)
class ListedRun:
    """A run as its folder shows it at this moment."""

    run_dir: Path
    state: str  # "finished", "running", "diverged", "stopped", or "empty": nothing is saved
    val_accuracy: float | None  # the highest of all epochs; None without validation
    train_accuracy: float | None  # of the last epoch
    epochs: int  # that are finished
    configured_epochs: int | None
    seconds: float | None  # of training
    time: datetime  # of the start
    note: str

    @property
    def name(self) -> str:
        return self.run_dir.absolute().name

    @property
    def standing(self) -> str:
        """The state, and for one that has not finished how far it is."""
        if self.state in ("finished", "empty"):
            return self.state
        return f"{self.state} after epoch {self.epochs} of {self.configured_epochs or '?'}"

    def row(self) -> dict[str, Any]:
        """Return it as JSON and CSV hold it, by the names COLUMNS."""
        time = self.time.isoformat(timespec="seconds")
        return {**vars(self), "run_dir": str(self.run_dir), "time": time}


COLUMNS = tuple(field.name for field in fields(ListedRun))


def listed(folder: Path, sort: str = "date") -> list[ListedRun]:
    """Return the runs in `folder`, or the run that it is.

    They are sorted by `accuracy` (of validation, the highest first) or `date` (the newest first).
    Raises CheckpointError where the folder cannot be read.
    """
    if _is_run(folder):
        return [look(Run(folder))]
    with reading(folder, CheckpointError, "folder"):
        found = [look(Run(path)) for path in folder.iterdir() if _is_run(path)]
    found.sort(key=lambda run: (run.time, len(run.name), run.name), reverse=True)
    if sort == "accuracy":
        found.sort(key=_accuracy, reverse=True)
    return found


def _accuracy(run: ListedRun) -> float:
    return -1 if run.val_accuracy is None else run.val_accuracy


def best(folder: Path) -> ListedRun:
    """Return the finished run of the highest validation accuracy; raises CheckpointError."""
    for run in listed(folder, "accuracy"):
        has_network = Run(run.run_dir).best.is_file()
        if run.state == "finished" and run.val_accuracy is not None and has_network:
            return run
    raise CheckpointError(f"{folder}: no finished run with a validation accuracy")


def look(run: Run) -> ListedRun:
    """Read what a run's folder tells; a run that trains is not disturbed."""
    rows: list[Row] = []
    with contextlib.suppress(CheckpointError):
        rows = run.epochs()
    last = rows[-1] if rows else {}
    val = [row["val/accuracy"] for row in rows]
    val_accuracy = max((each for each in val if each is not None), default=None)
    epochs = int(last.get("epoch") or 0)
    seconds = sum(row["seconds"] or 0 for row in rows) if rows else None

    environment = dict[str, Any]()
    with contextlib.suppress(CheckpointError):
        environment = read_json(run.environment)
    match = EPOCHS.search(_text(run.config_file, MAX_CONFIG_BYTES))
    configured = int(match[1]) if match else None
    if is_locked(run.folder):
        state = "running"
    elif summary := _finished(run):  # removed when the run starts, so only a finished one has it
        state = "finished"
        epochs, val_accuracy = summary["epochs"], summary["val_accuracy"]
        seconds = summary["seconds"]
    elif DIVERGED in environment:
        state = "diverged"
    else:
        state = "stopped" if epochs or run.last.is_file() else "empty"
    return ListedRun(
        run_dir=run.folder,
        state=state,
        val_accuracy=val_accuracy,
        train_accuracy=last.get("train/accuracy"),
        epochs=epochs,
        configured_epochs=configured,
        seconds=seconds,
        time=_time(run, environment),
        note=_text(run.note, MAX_NOTE * 4)[:MAX_NOTE].strip(),
    )


def _finished(run: Run) -> dict[str, Any] | None:
    with contextlib.suppress(CheckpointError):
        return read_summary(run.summary)
    return None


def _is_run(folder: Path) -> bool:
    try:
        return Run(folder).config_file.is_file()
    except OSError:
        return False


def _time(run: Run, environment: dict[str, Any]) -> datetime:
    """Return when a run was started; where that is not recorded, its configuration's date."""
    with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError, OSError):
        return datetime.fromisoformat(environment["time"]).astimezone()
    with contextlib.suppress(OSError, ValueError, OverflowError):
        return datetime.fromtimestamp(run.config_file.stat().st_mtime).astimezone()
    return datetime.fromtimestamp(0).astimezone()


def _text(path: Path, max_bytes: int) -> str:
    """Return the text of a file, or none where it cannot be read."""
    with contextlib.suppress(CheckpointError):
        return read_bytes(path, max_bytes, cut=True).decode(errors="replace")
    return ""
