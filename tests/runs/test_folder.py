"""A run's folder: numbered, never overwritten, and held by one process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlpcli.config.settings import Cifar10Config, Config
from mlpcli.errors import CheckpointError, MlpcliError
from mlpcli.runs import folder as runs
from mlpcli.runs.folder import Metrics, Run
from mlpcli.runs.reading import HEADER, METRICS


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
    with pytest.raises(MlpcliError, match="file: no run can be made there: File exists"):
        runs.create(tmp_path / "file", "note")


def row(epoch: int) -> dict[str, object]:
    return dict.fromkeys(METRICS, 0.5) | {"epoch": epoch, "val/loss": None}


def lines_of(run: Run) -> list[str]:
    return run.metrics.read_text().splitlines()


def silent(text: str) -> None:
    pytest.fail(f"warned: {text}")


def test_metrics_are_cut_back_and_never_doubled(tmp_path: Path) -> None:
    run = runs.create(tmp_path, "note")
    metrics = Metrics(run, 0, silent)
    for epoch in (1, 2, 3):
        metrics.append(row(epoch))
    Metrics(run, 2, silent).append(row(3))
    lines = lines_of(run)
    assert lines[0] == ",".join(METRICS)
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3"]
    assert lines[1] == "1,0.5,0.5,,0.5,0.5,0.5,0.5"


def test_who_follows_metrics_sees_every_row(tmp_path: Path) -> None:
    run = runs.create(tmp_path, "note")
    metrics = Metrics(run, 0, silent)
    with run.metrics.open() as follower:
        assert follower.read() == ",".join(METRICS) + "\n"
        for epoch in range(1, 6):
            metrics.append(row(epoch))
            metrics.save()
            assert follower.read().startswith(f"{epoch},")
        Metrics(run, 3, silent).append(row(4))
        assert os.fstat(follower.fileno()).st_size == follower.seek(0, os.SEEK_END)
    assert [line.split(",")[0] for line in lines_of(run)[1:]] == ["1", "2", "3", "4"]


def test_a_row_that_was_being_written_is_cut_off_wherever_it_ends(tmp_path: Path) -> None:
    run = runs.create(tmp_path, "note")
    metrics = Metrics(run, 0, silent)
    metrics.append(row(1))
    complete = run.metrics.read_bytes()
    metrics.append(row(2))
    content = run.metrics.read_bytes()
    for end in range(len(content)):
        run.metrics.write_bytes(content[:end])
        assert Metrics(run, 1, silent).rows == (end >= len(complete))
        assert run.metrics.read_bytes() == (complete if end >= len(complete) else HEADER)
    assert sorted(path.name for path in run.folder.iterdir()) == ["checkpoints", "metrics.csv"]


STRANGE = {
    "another tool's": b"x,epoch\n1,2\n",
    "no text": b"\xff\n1,2",
    "one line of 10 MiB": b"1," * 5 * 2**20,
    "empty rows": b"1,,,,,,,\n" * 1000,
    "NUL bytes, as after a power loss": bytes(5000),
    "a comment": b"# restarted with more memory\n",
    "half a comment": b"# restarted",
    "rows without end": f"9,{'0' * 500}".encode(),
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_is_not_understood_in_metrics_is_kept_in_another_file(
    tmp_path: Path, name: str
) -> None:
    run, said = runs.create(tmp_path, "note"), list[str]()
    Metrics(run, 0, silent).append(row(1))
    ours = run.metrics.read_bytes()
    for number in ("", "1"):
        run.metrics.write_bytes(ours + STRANGE[name])
        assert Metrics(run, 1, said.append).rows == 1
        assert run.metrics.read_bytes() == ours
        kept = run.folder / f"metrics.csv.old{number}"
        assert kept.read_bytes() == ours + STRANGE[name]
        assert said.pop().endswith(f"it is kept as {kept.name}")
    run.metrics.write_bytes(STRANGE[name])
    assert Metrics(run, 1, said.append).rows == 0
    assert (run.folder / "metrics.csv.old2").read_bytes() == STRANGE[name]


def test_metrics_of_many_epochs_are_kept(tmp_path: Path) -> None:
    run = runs.create(tmp_path, "note")
    Metrics(run, 0, silent).append(row(1))
    rows = [f"{epoch},{'0.' + '5' * 17},0.5,,,0.5,0.5,0.5\n" for epoch in range(2, 2001)]
    with run.metrics.open("a") as file:
        file.writelines(rows)
    content = run.metrics.read_bytes()
    assert Metrics(run, 10**6, silent).rows == 2000
    assert run.metrics.read_bytes() == content


def test_a_file_too_large_to_be_read_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, said = runs.create(tmp_path, "note"), list[str]()
    Metrics(run, 0, silent).append(row(1))
    monkeypatch.setattr(runs, "MAX_METRICS_BYTES", 50)
    content = run.metrics.read_bytes()
    assert Metrics(run, 1, said.append).rows == 0
    assert (run.folder / "metrics.csv.old").read_bytes() == content
    assert len(said) == 1


def test_what_others_write_to_metrics_during_training_is_kept(tmp_path: Path) -> None:
    run, said = runs.create(tmp_path, "note"), list[str]()
    metrics = Metrics(run, 0, said.append)
    metrics.append(row(1))
    with run.metrics.open("a") as file:
        file.write("# mine\n")
    metrics.append(row(2))
    assert "# mine" in (run.folder / "metrics.csv.old").read_text()
    assert [line[0] for line in lines_of(run)] == ["e", "1", "2"]
    assert len(said) == 1


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    run = runs.create(tmp_path, "note")
    (tmp_path / "victim").write_text("mine")
    run.metrics.symlink_to("../victim")
    with pytest.raises(MlpcliError, match="cannot be written"):
        Metrics(run, 0, silent)
    run.metrics.unlink()
    Metrics(run, 0, silent).append(row(1))
    os.link(run.metrics, tmp_path / "backup")
    content = run.metrics.read_bytes()
    Metrics(run, 1, silent).append(row(2))
    assert (tmp_path / "backup").read_bytes() == content
    assert len(lines_of(run)) == 3


def test_rows_that_could_not_be_written_are_there_after_the_next_save(tmp_path: Path) -> None:
    run = runs.create(tmp_path, "note")
    metrics = Metrics(run, 0, silent)
    run.metrics.unlink()
    run.metrics.mkdir()
    with pytest.raises(MlpcliError, match="cannot be written"):
        metrics.append(row(1))
    run.metrics.rmdir()
    metrics.append(row(2))
    metrics.save()
    assert [line.split(",")[0] for line in lines_of(run)] == ["epoch", "1", "2"]


def test_a_full_disk_leaves_no_half_row(tmp_path: Path) -> None:
    run = runs.create(tmp_path, "note")
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from mlpcli.errors import MlpcliError; from mlpcli.runs.folder import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "metrics = Metrics(Run(Path(sys.argv[1])), 0, print)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))\n"
        "try: metrics.append(dict.fromkeys(METRICS, 1))\n"
        "except MlpcliError as error: print(error)\n"
        "print(Run(Path(sys.argv[1])).metrics.stat().st_size)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "metrics.save()\n"
    )
    command = [sys.executable, "-c", code, str(run.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    message, size = done.stdout.splitlines()
    assert message.endswith("metrics.csv: cannot be written: File too large")
    assert int(size) == len(",".join(METRICS)) + 1
    assert lines_of(run)[1] == "1,1,1,1,1,1,1,1"


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
