"""The listing of runs: what their folders tell, in whatever state they are."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mlpcli.config.loading import to_dict
from mlpcli.config.settings import Config, TrainingConfig
from mlpcli.errors import CheckpointError
from mlpcli.files import locked
from mlpcli.runs import folder as runs
from mlpcli.runs.folder import Metrics, Run
from mlpcli.runs.listing import COLUMNS, ListedRun, best, listed, look
from mlpcli.runs.reading import METRICS

START = datetime(2026, 3, 1, 12).astimezone()


def made(
    runs_dir: Path,
    accuracies: list[float | None],
    *,
    epochs: int | None = None,
    finished: bool = True,
    minutes: int = 0,
) -> Run:
    """Write the files of a run with these validation accuracies, as training does."""
    config = Config(name="note", training=TrainingConfig(epochs=epochs or len(accuracies)))
    run = runs.create(runs_dir, config.name)
    run.write_config(config)
    run.write_environment({"time": (START + timedelta(minutes=minutes)).isoformat()})
    metrics = Metrics(run, 0, print)
    for i, accuracy in enumerate(accuracies):
        row = dict.fromkeys(METRICS, 0.5) | {"epoch": i + 1, "val/accuracy": accuracy}
        metrics.append(row)
    if finished:
        run.best.touch()
        val = [each for each in accuracies if each is not None]
        run.write_summary(
            {
                "config": to_dict(config),
                "epochs": len(accuracies),
                "best_epoch": 1,
                "val_accuracy": max(val, default=None),
                "val_loss": 0.5 if val else None,
                "train_loss": 0.5,
                "seconds": 0.5 * len(accuracies),
                "images_per_second": 0.5,
            }
        )
    return run


def names(found: list[ListedRun]) -> list[str]:
    return [run.name for run in found]


def test_runs_are_listed_newest_first_or_best_first(tmp_path: Path) -> None:
    made(tmp_path, [0.3], minutes=3)
    made(tmp_path, [0.2, 0.6, 0.5], minutes=1)
    made(tmp_path, [None], minutes=2)
    made(tmp_path, [0.4], minutes=2)
    made(tmp_path, [0.0])
    assert names(listed(tmp_path)) == ["note-1", "note-4", "note-3", "note-2", "note-5"]
    best_first = ["note-2", "note-4", "note-1", "note-5", "note-3"]
    assert names(listed(tmp_path, "accuracy")) == best_first
    assert names(listed(tmp_path / "note-4")) == ["note-4"]


def test_a_run_tells_what_it_came_to(tmp_path: Path) -> None:
    run = made(tmp_path, [0.2, 0.6, 0.5])
    run.write_note("a\tnote")
    found = look(run)
    assert tuple(found.row()) == COLUMNS
    assert found.row() == {
        "run_dir": str(tmp_path / "note-1"),
        "state": "finished",
        "val_accuracy": 0.6,
        "train_accuracy": 0.5,
        "epochs": 3,
        "configured_epochs": 3,
        "seconds": 1.5,
        "time": START.isoformat(),
        "note": "a\tnote",
    }


def test_the_state_is_that_of_this_moment(tmp_path: Path) -> None:
    empty = made(tmp_path, [], epochs=5, finished=False)
    assert look(empty).state == "empty"
    empty.last.touch()
    assert look(empty).state == "stopped", "in its first epoch"
    run = made(tmp_path, [0.1, 0.2], epochs=5, finished=False)
    assert (look(run).state, look(run).epochs, look(run).configured_epochs) == ("stopped", 2, 5)
    with locked(run.folder, print):
        assert look(run).state == "running"
    assert look(run).state == "stopped"
    assert look(run).standing == "stopped after epoch 2 of 5"
    run.write_environment({"diverged": "training diverged: the loss is nan"})
    assert look(run).standing == "diverged after epoch 2 of 5"
    patient = look(made(tmp_path, [0.1, 0.2], epochs=5))
    assert (patient.state, patient.standing) == ("finished", "finished"), "by training.patience"


def test_the_best_is_a_finished_run_with_validation(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        best(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="no finished run"):
        best(tmp_path)
    made(tmp_path, [None])
    made(tmp_path, [0.9], epochs=2, finished=False)
    with pytest.raises(CheckpointError, match="no finished run"):
        best(tmp_path)
    made(tmp_path, [0.5])
    made(tmp_path, [0.4, 0.6, 0.1])
    assert best(tmp_path).run_dir == tmp_path / "note-4"
    (tmp_path / "note-4/checkpoints/best.npz").unlink()
    assert best(tmp_path).run_dir == tmp_path / "note-3"


CORRUPT = [
    "",
    "{",
    "[]",
    "null",
    '{"config": 1, "epochs": "x"}',
    "[" * 100_000,
    "\0\xff",
    "1" * 5000,
]


@pytest.mark.parametrize("content", CORRUPT, ids=range(len(CORRUPT)))
@pytest.mark.parametrize("name", ["summary.json", "environment.json", "metrics.csv", "config.yaml"])
def test_a_corrupt_file_leaves_a_gap_and_no_more(tmp_path: Path, name: str, content: str) -> None:
    made(tmp_path, [0.5])
    run = made(tmp_path, [0.1, 0.3])
    (run.folder / name).write_text(content, encoding="latin-1")
    assert set(names(listed(tmp_path))) == {"note-1", "note-2"}
    found = look(run)
    assert found.state == ("stopped" if name == "summary.json" else "finished")
    assert found.val_accuracy == 0.3
    assert found.configured_epochs == (None if name == "config.yaml" else 2)


@pytest.mark.parametrize("number", ["nan", "inf", "-1", "7", "1e999"])
def test_metrics_that_are_not_understood_leave_a_gap(tmp_path: Path, number: str) -> None:
    run = made(tmp_path, [0.1], epochs=2, finished=False)
    run.last.touch()
    run.metrics.write_text(run.metrics.read_text() + f"2,0,0,0,{number},0,0,0\n")
    found = look(run)
    assert (found.state, found.val_accuracy, found.seconds) == ("stopped", None, None)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda p: p.symlink_to(p)])
def test_what_is_no_file_is_not_read(tmp_path: Path, make: object) -> None:
    run = made(tmp_path, [0.5])
    for name in ("summary.json", "environment.json", "metrics.csv", "note.txt", "lock"):
        (run.folder / name).unlink(missing_ok=True)
        make(run.folder / name)
    assert look(run).state == "empty"


@pytest.mark.parametrize("time", ["yesterday", 5, None, "0001-01-01T00:00:00", "9" * 400])
def test_a_run_without_a_time_has_that_of_its_configuration(tmp_path: Path, time: object) -> None:
    run = made(tmp_path, [0.5])
    run.write_environment({"time": time})
    os.utime(run.config_file, (1e9, 1e9))
    assert look(run).time == datetime.fromtimestamp(1e9).astimezone()


def test_only_direct_children_with_a_configuration_are_runs(tmp_path: Path) -> None:
    made(tmp_path, [0.5])
    made(tmp_path / "sweep", [0.5])
    (tmp_path / "foreign").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert names(listed(tmp_path)) == ["note-1"]
    with pytest.raises(CheckpointError, match="file: cannot be read: Not a directory"):
        listed(tmp_path / "file")


def test_a_note_is_read_as_far_as_it_may_be_long(tmp_path: Path) -> None:
    run = made(tmp_path, [0.5])
    run.write_note("é" * runs.MAX_NOTE)
    assert look(run).note == "é" * runs.MAX_NOTE
    run.note.write_text("x" * 10**6)
    assert len(look(run).note) == runs.MAX_NOTE
    run.write_note("not UTF-8: \udcff")
    assert run.note.read_bytes() == b"not UTF-8: \xff\n"
    assert look(run).note == "not UTF-8: \ufffd"


def test_a_configuration_that_repeats_itself_takes_no_time(tmp_path: Path) -> None:
    run = made(tmp_path, [0.5])
    run.config_file.write_text("training:\n" + f"{' ' * 60}x\n" * 1000)
    assert look(run).configured_epochs is None
