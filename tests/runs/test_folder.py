"""A run's folder: numbered, never overwritten, and held by one process."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlpcli.config.settings import Cifar10Config, Config
from mlpcli.errors import CheckpointError, MlpcliError
from mlpcli.runs import folder as runs
from mlpcli.runs.folder import METRICS, Metrics


def test_runs_count_up_and_overwrite_nothing(tmp_path: Path) -> None:
    names = [runs.create(tmp_path / "runs", "note").folder.name for _ in range(3)]
    assert names == ["note-1", "note-2", "note-3"]
    (tmp_path / "runs" / "note-1" / "checkpoints").rmdir()
    (tmp_path / "runs" / "note-1").rmdir()
    assert runs.create(tmp_path / "runs", "note").folder.name == "note-4"
    assert runs.create(tmp_path / "runs", "other").folder.name == "other-1"


def test_the_data_directory_of_a_run_is_absolute_or_left_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLPCLI_DATA_DIR", "/variable")
    default, own = Config(), Config(data=Cifar10Config(dir="own"))
    assert runs.with_data_dir(default, None) == default
    assert runs.with_data_dir(own, None).data.dir == str(tmp_path / "own")
    assert runs.with_data_dir(own, Path("chosen")).data.dir == str(tmp_path / "chosen")
    assert runs.with_data_dir(own, "~/chosen").data.dir == str(Path.home() / "chosen")


def test_a_recorded_data_directory_that_is_gone_gives_way_to_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone, there = (Config(data=Cifar10Config(dir=str(tmp_path / d))) for d in ("gone", "."))
    assert runs.with_data_dir(gone, None, recorded=True) == gone
    monkeypatch.setenv("MLPCLI_DATA_DIR", "/variable")
    assert runs.with_data_dir(gone, None).data.dir == gone.data.dir
    assert runs.with_data_dir(gone, "chosen", recorded=True).data.dir.endswith("/chosen")
    assert runs.with_data_dir(there, None, recorded=True).data.dir == str(tmp_path)
    assert caplog.messages == []
    assert runs.with_data_dir(gone, None, recorded=True).data.dir == "/variable"
    assert caplog.messages == [
        f"warning: {tmp_path}/gone, the run's data.dir, is not there: using MLPCLI_DATA_DIR"
    ]


def test_a_name_that_another_begins_with_counts_for_itself(tmp_path: Path) -> None:
    runs.create(tmp_path, "note-big")
    assert runs.create(tmp_path, "note").folder.name == "note-1"


def test_a_run_is_one_only_with_its_configuration(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a run's folder"):
        runs.open_run(tmp_path)


def test_runs_cannot_be_made_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MlpcliError, match="no run can be made there"):
        runs.create(tmp_path / "file", "note")


def row(epoch: int) -> dict[str, object]:
    return dict.fromkeys(METRICS, 0.5) | {"epoch": epoch, "val/loss": None}


def test_metrics_are_cut_back_and_never_doubled(tmp_path: Path) -> None:
    run = runs.create(tmp_path, "note")
    metrics = Metrics(run, 0)
    for epoch in (1, 2, 3):
        metrics.append(row(epoch))
    Metrics(run, 2).append(row(3))
    lines = run.metrics.read_text().splitlines()
    assert lines[0] == ",".join(METRICS)
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3"]
    assert lines[1] == "1,0.5,0.5,,0.5,0.5,0.5,0.5"


@pytest.mark.parametrize("content", ["", "x,epoch\n1,2\n", "\xff\n1,2", "1," * 100_000, "\0"])
def test_metrics_that_are_none_are_begun_anew(tmp_path: Path, content: str) -> None:
    run = runs.create(tmp_path, "note")
    run.metrics.write_text(content, encoding="latin-1")
    assert Metrics(run, 3).rows == 0
    assert run.metrics.read_text() == ",".join(METRICS) + "\n"


def test_a_torn_last_row_is_dropped(tmp_path: Path) -> None:
    run = runs.create(tmp_path, "note")
    Metrics(run, 0).append(row(1))
    with run.metrics.open("a") as file:
        file.write("2,0.")
    assert Metrics(run, 1).rows == 1
    assert len(run.metrics.read_text().splitlines()) == 2


def test_rows_that_could_not_be_written_are_there_after_the_next_save(tmp_path: Path) -> None:
    run = runs.create(tmp_path, "note")
    metrics = Metrics(run, 0)
    run.metrics.unlink()
    run.metrics.mkdir()
    with pytest.raises(MlpcliError, match="cannot be written"):
        metrics.append(row(1))
    run.metrics.rmdir()
    metrics.append(row(2))
    metrics.save()
    lines = run.metrics.read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2"]


def test_a_number_is_never_used_twice(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        run = runs.create(tmp_path, "note")
        assert run.folder.name == f"note-{number}"
        shutil.rmtree(run.folder)
    assert [path.name for path in tmp_path.iterdir()] == [".note-3"]
    (tmp_path / "note-7").mkdir()  # copied here
    assert runs.create(tmp_path, "note").folder.name == "note-8"


def test_without_the_hidden_file_the_folders_tell_the_number(tmp_path: Path) -> None:
    (tmp_path / ".note-3").mkdir()  # in the way of the file, and cannot be removed as one
    assert runs.create(tmp_path, "note").folder.name == "note-4"
    (tmp_path / ".note-4").unlink()
    (tmp_path / ".note-3").rmdir()
    assert runs.create(tmp_path, "note").folder.name == "note-5"


def test_processes_that_start_together_get_numbers_of_their_own(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mlpcli.runs import folder\n"
        "for _ in range(40): print(folder.create(Path(sys.argv[1]), 'note').folder.name)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    names = [name for each in processes for name in each.communicate()[0].split()]
    assert [each.returncode for each in processes] == [0] * 4
    assert sorted(names) == sorted(f"note-{number}" for number in range(1, 161))
    for name in names:
        shutil.rmtree(tmp_path / name)
    assert runs.create(tmp_path, "note").folder.name == "note-161"
