"""`mlpcli runs`: real trainings, seen from another process."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command
from faults.shell import MLPCLI, call

TINY = ("data.val_size=100", "model.hidden=[4]")


def train(cwd: Path, *arguments: str) -> None:
    done = call([*MLPCLI, "train", "smoke", *TINY, "training.epochs=1", "-q", *arguments], cwd)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three runs: with a note; with a tiny learning rate; without validation."""
    folder = tmp_path_factory.mktemp("trained")
    train(folder, "--note", "\x1b[31mfirst")
    train(folder, "optimizer.learning_rate=1e-9")
    train(folder, "data.val_size=0")
    return folder / "runs"


@pytest.fixture
def three(trained: Path, tmp_path: Path) -> Path:
    """Copies of these runs, of the test's own."""
    return shutil.copytree(trained, tmp_path / "runs")


def listed(mlpcli: Command, *arguments: object) -> list[dict[str, object]]:
    done = mlpcli("runs", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["runs"]


@pytest.mark.slow
def test_a_run_is_running_then_stopped_then_finished(mlpcli: Command, tmp_path: Path) -> None:
    long = [*MLPCLI, "train", "smoke", *TINY, "training.epochs=100000", "--note", "a long one"]
    for number in (signal.SIGINT, signal.SIGKILL):
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        with subprocess.Popen(long, cwd=tmp_path, text=True, **streams) as process:
            process.stderr.readline()  # the first epoch
            newest, *_ = listed(mlpcli)
            process.send_signal(number)
            process.stderr.read()
        assert (newest["state"], newest["note"]) == ("running", "a long one")
        assert newest["configured_epochs"] == 100000
        stopped, *_ = listed(mlpcli, newest["run_dir"])
        assert stopped["state"] == "stopped"
        assert stopped["val_accuracy"] >= newest["val_accuracy"] > 0
        assert 1 <= newest["epochs"] <= stopped["epochs"] < 100000
    assert len(listed(mlpcli)) == 2
    train(tmp_path)
    assert [run["state"] for run in listed(mlpcli)] == ["finished", "stopped", "stopped"]


def test_the_table_fits_80_columns_and_steers_no_terminal(mlpcli: Command, three: Path) -> None:
    done = mlpcli("runs")
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["run", "state", "val", "train", "epochs", "seconds", "started", "note"]
    assert [line.split()[0] for line in lines] == ["smoke-3", "smoke-2", "smoke-1"]
    assert lines[0].split()[1:3] == ["finished", "–"]
    assert lines[2].endswith(r"\x1b[31mfirst")
    assert max(map(len, [head, *lines])) <= 80
    (three / "smoke-1").rename(three / ("a-long-name" * 5 + "-1"))
    (three / "smoke-2").rename(three / "b\x1b[2J\nc-2")
    done = mlpcli("runs")
    assert len(done.stdout.splitlines()) == 4
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout


def test_the_best_is_one_path_for_another_command(mlpcli: Command, three: Path) -> None:
    done = mlpcli("runs", "--best")
    assert done.stdout == "runs/smoke-1\n"
    assert listed(mlpcli, "--sort", "accuracy")[0]["run_dir"] == "runs/smoke-1"
    assert mlpcli("eval", done.stdout.strip(), "--split", "val").returncode == 0
    none = mlpcli("runs", "smoke-3", "--best")
    assert none.returncode == 5
    assert none.stdout == ""
    assert none.stderr == "error: runs/smoke-3: no finished run with a validation accuracy\n"


def test_csv_and_json_hold_the_same(mlpcli: Command, three: Path) -> None:
    done = mlpcli("runs", three, "--csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    found = listed(mlpcli, three)
    assert [list(row) for row in rows] == [list(run) for run in found]
    for row, run in zip(rows, found, strict=True):
        for name in set(row) - {"note"}:
            assert row[name] == ("" if run[name] is None else str(run[name]))
    assert (found[2]["note"], rows[2]["note"]) == ("\x1b[31mfirst", r"\x1b[31mfirst")
    assert "\x1b" not in done.stdout


def test_two_runs_are_compared_by_their_configurations(mlpcli: Command, three: Path) -> None:
    done = mlpcli("runs", "smoke-1", three / "smoke-2")
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["smoke-1", "smoke-2"]
    assert lines[0].split() == ["optimizer.learning_rate", "0.1", "1e-09"]
    assert [line.index("finished") for line in lines if "finished" in line] == [25]
    assert lines[-1].startswith("validation accuracy")
    document = json.loads(mlpcli("runs", "smoke-1", three / "smoke-2", "--json").stdout)
    assert document["differences"] == {"optimizer.learning_rate": [0.1, 1e-9]}
    assert [run["run_dir"] for run in document["runs"]] == ["runs/smoke-1", str(three / "smoke-2")]
    same = mlpcli("runs", "smoke-1", "smoke-1")
    assert same.stdout.splitlines()[1].split() == ["state", "finished", "finished"]


def test_an_option_that_a_run_does_not_have_is_a_dash(
    mlpcli: Command, three: Path, tmp_path: Path
) -> None:
    train(tmp_path, "optimizer.name=adamw", "optimizer.learning_rate=0.001")
    lines = mlpcli("runs", "smoke-1", "smoke-4").stdout.splitlines()
    assert ["optimizer.name", "sgd", "adamw"] in [line.split() for line in lines]
    assert ["optimizer.momentum", "0.9", "–"] in [line.split() for line in lines]


@pytest.mark.slow
def test_a_note_is_kept_when_a_run_is_resumed_or_replaced(mlpcli: Command, tmp_path: Path) -> None:
    train(tmp_path, "--note", "first")
    resume = ("train", "--resume", "smoke-1", "-q")
    assert mlpcli(*resume, "training.epochs=2", "--extend").returncode == 0
    assert (tmp_path / "runs/smoke-1/note.txt").read_text() == "first\n"
    assert mlpcli(*resume, "training.epochs=3", "--extend", "--note", "longer").returncode == 0
    assert listed(mlpcli)[0]["note"] == "longer"


@pytest.mark.slow
def test_a_run_that_was_deleted_leaves_its_number(mlpcli: Command, tmp_path: Path) -> None:
    train(tmp_path)
    subprocess.run(["rm", "-r", "runs/smoke-1"], cwd=tmp_path, check=True)
    train(tmp_path)
    assert [run["run_dir"] for run in listed(mlpcli)] == ["runs/smoke-2"]


def test_a_folder_without_runs_is_listed_too(mlpcli: Command, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    done = mlpcli("runs")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "runs: no runs in this folder\n"
    assert listed(mlpcli) == []
    assert len(mlpcli("runs", "--csv").stdout.splitlines()) == 1


def test_a_folder_of_sweeps_alone_leads_to_one(mlpcli: Command, three: Path) -> None:
    sweep = three.rename(three.parent / "a sweep")
    three.mkdir()
    sweep.rename(three / "a sweep")
    done = mlpcli("runs")
    assert (done.returncode, done.stdout) == (0, "")
    *_, hint = done.stderr.splitlines()
    assert hint == "  try: mlpcli runs 'runs/a sweep'"
    found = listed(mlpcli, *shlex.split(hint)[3:])
    assert [run["state"] for run in found] == ["finished"] * 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["runs", "--best", "--json"], 2, "--best, --csv and --json exclude one another"),
        (["runs", "a", "b", "c"], 2, "found 3 folders, expected one, or two runs to compare"),
        (["runs", "a", "b", "--csv"], 2, "--best and --csv expect one folder"),
        (["runs", "file"], 5, "file: cannot be read: Not a directory"),
        (["runs", ".", "file"], 5, ".: not a run's folder"),
        (["train", "smoke", "--note", "x" * 1001], 2, "found 1,001 characters, expected at most"),
    ],
)
def test_wrong_input_is_one_clear_line(
    mlpcli: Command, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "file").touch()
    done = mlpcli(*arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_run_that_is_resumed_for_longer_and_stopped_is_not_finished(
    mlpcli: Command, tmp_path: Path
) -> None:
    small = ("model.hidden=[4]", "training.batch_size=1000")
    assert mlpcli("train", "smoke", *small, "training.epochs=1").returncode == 0
    longer = [sys.executable, "-m", "mlpcli", "train", "--resume", "smoke-1"]
    longer += ["training.epochs=999", "--extend"]
    with subprocess.Popen(longer, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(2):  # the warning, and an epoch
            process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    (run,) = json.loads(mlpcli("runs", "--json").stdout)["runs"]
    assert (run["state"], run["configured_epochs"]) == ("stopped", 999)


@pytest.mark.slow
def test_long_names_keep_their_numbers(mlpcli: Command) -> None:
    name = "a-rather-long-name-for-a-run-of-one-epoch-on-generated-shapes"[:58]
    for _ in range(2):
        tiny = ("model.hidden=[4]", "training.epochs=1", f"name={name}")
        assert mlpcli("train", "smoke", *tiny, "--note", "why").returncode == 0
    lines = mlpcli("runs").stdout.splitlines()
    assert [re.split(r"\s\s+", line)[0][-3:] for line in lines[1:]] == ["a-2", "a-1"]
    assert max(map(len, lines)) <= 80


def test_where_nothing_was_trained_it_says_how_to(mlpcli: Command) -> None:
    done = mlpcli("runs")
    assert (done.returncode, done.stderr) == (
        5,
        "error: runs: no such folder\n  try: mlpcli train smoke\n",
    )
