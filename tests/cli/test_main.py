"""The command line as a shell sees it: real processes, their output, and their exit codes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
from conftest import COMMAND, CONFIGS, Command, Without
from faults.shell import figures, require_same
from terminal import on_a_terminal

import mlpcli as mlpcli_package
from mlpcli.cli.main import COMMANDS
from mlpcli.errors import printable
from mlpcli.interrupts import SIGNALS
from mlpcli.runs import checkpoint
from mlpcli.runs.reading import METRICS

SMALL = ("--set", "data.val_size=50", "--set", "training.epochs=3")
SIXTY = (*SMALL, "--set", "training.epochs=60", "--set", "model.hidden=[16]")
NOTE = CONFIGS / "note.yaml"


def test_help_names_every_command_and_each_command_has_help_with_an_example(
    mlpcli: Command,
) -> None:
    top = mlpcli("--help")
    assert top.returncode == 0
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\S", top.stdout, re.MULTILINE)
        own = mlpcli(name, "--help")
        assert own.returncode == 0
        assert f"mlpcli {name}" in own.stdout.partition("Usage:")[2].partition("\n")[2]
    assert mlpcli().stdout == top.stdout


def test_help_imports_neither_numpy_nor_requests() -> None:
    code = (
        "import sys; sys.argv = ['mlpcli', *sys.argv[1:]]; from mlpcli.cli.main import run; "
        "code = run(sys.argv[1:]); "
        "sys.exit(f'loaded: {code}' if code or {'numpy', 'requests'} & set(sys.modules) else 0)"
    )
    for arguments in (["--help"], ["train", "--help"], ["download", "--help"], ["sweep", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_version_names_numpy_and_its_blas(mlpcli: Command) -> None:
    version = mlpcli("--version")
    assert version.returncode == 0
    assert f"NumPy {np.__version__}" in version.stdout
    assert re.search(r"BLAS \S+ \S+, \d+ threads\)$", version.stdout.strip())


@pytest.fixture
def trained(mlpcli: Command, shapes_dir: Path, tmp_path: Path) -> Path:
    """A run of three epochs on the small data set."""
    done = mlpcli("train", NOTE, *SMALL, "--data-dir", shapes_dir)
    assert done.returncode == 0, done.stderr
    return tmp_path / "runs" / "note-1"


def test_train_writes_the_whole_folder_of_a_run(trained: Path) -> None:
    files = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    assert files == {
        "config.yaml",
        "metrics.csv",
        "summary.json",
        "environment.json",
        "lock",
        "checkpoints/best.npz",
        "checkpoints/last.npz",
        "checkpoints/previous.npz",
    }
    rows = trained.joinpath("metrics.csv").read_text().splitlines()
    assert rows[0] == ",".join(METRICS)
    assert len(rows) == 4
    environment = json.loads(trained.joinpath("environment.json").read_text())
    assert environment["numpy"] == np.__version__
    assert len(environment["data_digest"]) == 64


def test_train_says_a_line_an_epoch_on_stderr_and_the_result_on_stdout(
    mlpcli: Command, shapes_dir: Path
) -> None:
    done = mlpcli("train", NOTE, *SMALL, "--data-dir", shapes_dir)
    assert len(re.findall(r"^epoch +\d/3  train ", done.stderr, re.MULTILINE)) == 3
    assert "\r" not in done.stderr, "no bar where there is no terminal"
    assert "best epoch" in done.stdout
    assert re.search(r"^val curve +[▁▂▃▄▅▆▇█]{3}  \S+% to \S+%$", done.stdout, re.MULTILINE)
    for command in ("eval", "report"):
        assert f"mlpcli {command} runs/note-1\n" in done.stdout


def test_quiet_leaves_the_result_and_warnings_and_verbose_says_what_is_done(
    mlpcli: Command, shapes_dir: Path, tmp_path: Path
) -> None:
    train = ("train", NOTE, *SMALL, "--data-dir", shapes_dir)
    quiet = mlpcli(*train, "-q")
    assert quiet.stderr == ""
    assert "best epoch" in quiet.stdout
    (tmp_path / "runs/note-1/metrics.csv").unlink()
    longer = ("--set", "training.epochs=4")
    again = mlpcli("train", "-q", "--resume", "runs/note-1", *longer)
    assert again.stderr.startswith("warning: ")
    assert len(again.stderr.splitlines()) == 1
    verbose = mlpcli(*train, "-v")
    for said in ("training images: 200 read from", "network: 3072-512-10", "blas: ", "saved: "):
        assert said in verbose.stderr
    assert len(re.findall("^epoch ", verbose.stderr, re.MULTILINE)) == 3
    assert "test images: 40 read from" in mlpcli("eval", "runs/note-2", "-v").stderr


def test_json_is_one_document_on_stdout_and_the_summary_of_the_run(
    mlpcli: Command, shapes_dir: Path, tmp_path: Path
) -> None:
    done = mlpcli("train", NOTE, *SMALL, "--data-dir", shapes_dir, "--json", "--runs-dir", "r")
    document = json.loads(done.stdout)
    assert list(document) == [
        "run_dir",
        "config",
        "epochs",
        "best_epoch",
        "val_accuracy",
        "val_loss",
        "train_loss",
        "seconds",
        "images_per_second",
        "checkpoint",
        "legs",
    ]
    assert document["run_dir"] == "r/note-1"
    assert document["epochs"] == 3
    assert document == json.loads((tmp_path / "r/note-1/summary.json").read_text())
    assert (tmp_path / document["checkpoint"]).is_file()


def test_the_resolved_configuration_trains_to_the_same_bits(
    mlpcli: Command, trained: Path, tmp_path: Path
) -> None:
    done = mlpcli("train", trained / "config.yaml")
    assert done.returncode == 0, done.stderr
    first, again = (
        checkpoint.load(tmp_path / "runs" / f"note-{number}" / "checkpoints" / "last.npz")
        for number in (1, 2)
    )
    for name, array in first.named_params.items():
        assert array.tobytes() == again.named_params[name].tobytes()


def test_eval_agrees_with_training_from_the_file_alone(mlpcli: Command, trained: Path) -> None:
    summary = json.loads(trained.joinpath("summary.json").read_text())
    for target in (trained, trained / "checkpoints" / "best.npz"):
        done = mlpcli("eval", target, "--split", "val", "--json")
        document = json.loads(done.stdout)
        assert list(document) == [
            "split",
            "count",
            "accuracy",
            "interval",
            "loss",
            "per_class",
            "confusion_matrix",
        ]
        assert (document["split"], document["count"]) == ("val", 50)
        assert document["accuracy"] == summary["val_accuracy"]
        assert document["loss"] == pytest.approx(summary["val_loss"], rel=1e-4)
        assert sum(map(sum, document["confusion_matrix"])) == 50
        assert document["per_class"]["disk"]["count"] == 5


def test_eval_prints_a_table_that_fits_80_columns(mlpcli: Command, trained: Path) -> None:
    done = mlpcli("eval", trained)
    assert "test: 40 images, loss" in done.stdout
    assert "triangle" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_terminal_shows_colours_and_a_bar_and_nothing_else_does(
    mlpcli: Command, trained: Path, tmp_path: Path
) -> None:
    shown = on_a_terminal(tmp_path, "eval", trained)
    assert re.search(r"\x1b\[38;5;231m\x1b\[48;5;\d+m +\d+\x1b\[0m", shown)
    plain = mlpcli("eval", trained).stdout
    assert "\x1b" not in plain
    assert click.unstyle(shown).replace("\r\n", "\n").endswith(plain)
    assert "\x1b" not in on_a_terminal(tmp_path, "eval", trained, NO_COLOR="1")
    longer = ("train", "--resume", trained, "--set")
    bar = r"epoch \d+/60 +\d+% \|"
    assert re.search(bar, on_a_terminal(tmp_path, *longer, "training.epochs=60"))
    assert "% |" not in on_a_terminal(tmp_path, *longer, "training.epochs=70", "-q")


def test_floors_are_gates(mlpcli: Command, trained: Path, shapes_dir: Path) -> None:
    done = mlpcli("eval", trained, "--min-accuracy", "0.99")
    assert done.returncode == 3
    assert "is below the floor of 0.99" in done.stderr
    assert mlpcli("eval", trained, "--min-accuracy", "0").returncode == 0
    train = ("train", NOTE, *SMALL, "--data-dir", shapes_dir, "--min-val-accuracy")
    assert mlpcli(*train, "0.99").returncode == 3
    assert mlpcli(*train, "0").returncode == 0


@pytest.mark.slow
def test_from_no_data_to_an_evaluated_network(mlpcli: Command, tmp_path: Path) -> None:
    done = mlpcli("download", "--synthetic", "--data-dir", "data")
    assert "10,000 training and 2,000 test images" in done.stdout, done.stderr
    again = mlpcli("download", "--data-dir", "data")
    assert again.returncode == 0
    assert "already in data" in again.stdout
    sets = ("--set", "training.epochs=1", "--set", "data.val_size=1000")
    done = mlpcli("train", NOTE, *sets, env={**os.environ, "MLPCLI_DATA_DIR": "data"})
    assert done.returncode == 0, done.stderr
    assert mlpcli("eval", "runs/note-1", "--data-dir", tmp_path / "data").returncode == 0


def interrupted(shapes_dir: Path, cwd: Path, number: signal.Signals) -> subprocess.CompletedProcess:
    """Start a training of 60 epochs, signal it after the first, and wait for its end."""
    with subprocess.Popen(
        [sys.executable, "-m", "mlpcli", "train", str(NOTE), *SIXTY, "--data-dir", str(shapes_dir)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stderr.readline()  # the first epoch
        process.send_signal(number)
        sent = time.monotonic()
        stdout, stderr = process.communicate(timeout=30)
        assert time.monotonic() - sent < 5
        return subprocess.CompletedProcess([], process.returncode, stdout, stderr)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_the_run_goes_on_to_the_same_bits(
    mlpcli: Command, shapes_dir: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    done = interrupted(shapes_dir, tmp_path, number)
    assert done.returncode == code
    assert f"{number.name}: saved after step" in done.stderr
    assert "mlpcli train --resume runs/note-1" in done.stderr
    assert "Traceback" not in done.stderr
    assert checkpoint.load(tmp_path / "runs/note-1/checkpoints/last.npz").epoch < 60
    resumed = mlpcli("train", "--resume", "runs/note-1")
    assert resumed.returncode == 0, resumed.stderr
    assert mlpcli("train", NOTE, *SIXTY, "--data-dir", shapes_dir).returncode == 0

    ends = [tmp_path / "runs" / name for name in ("note-1", "note-2")]
    require_same(*ends)
    assert len(figures(ends[0])) == 61


@pytest.mark.parametrize("number", SIGNALS[2:])
def test_each_signal_that_asks_to_go_saves_first(
    shapes_dir: Path, tmp_path: Path, number: signal.Signals
) -> None:
    done = interrupted(shapes_dir, tmp_path, number)
    assert done.returncode == 128 + number
    (step,) = re.findall(rf"error: {number.name}: saved after step (\d+)\n", done.stderr)
    assert checkpoint.load(tmp_path / "runs/note-1/checkpoints/last.npz").step == int(step)


def test_a_resumed_run_may_be_made_longer_and_nothing_else(mlpcli: Command, trained: Path) -> None:
    longer = mlpcli("train", "--resume", trained, "--set", "training.epochs=5", "--json")
    assert json.loads(longer.stdout)["epochs"] == 5
    for key, value in [("seed", 1), ("optimizer.learning_rate", 0.2), ("training.epochs", 2)]:
        done = mlpcli("train", "--resume", trained, "--set", f"{key}={value}")
        assert done.returncode == 5, done.stderr
        assert str(value) in done.stderr
        assert len(done.stderr.splitlines()) == 1


COSINE = ("training.epochs=2", "model.hidden=[4]", "data.val_size=100", "threads=1", "-q")


def test_more_epochs_that_change_the_schedule_need_extend(mlpcli: Command, tmp_path: Path) -> None:
    assert mlpcli("train", "smoke", *COSINE).returncode == 0
    run = tmp_path / "runs" / "smoke-1"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = mlpcli("train", "--resume", "smoke-1", "training.epochs=4")
    assert done.returncode == 5
    error, hint = done.stderr.splitlines()
    change = "learning rate from 1.01e-05 to 0.05"
    assert f"has finished its 2 epochs; 4 would change the {change} under its cosine" in error
    assert before == {path: path.read_bytes() for path in before if path.name != "lock"} | {
        run / "lock": b""
    }
    done = mlpcli(*shlex.split(hint)[2:])
    assert done.returncode == 0, done.stderr
    assert f"warning: runs/smoke-1: extended from 2 to 4 epochs: {change}\n" in done.stderr
    summary = json.loads((run / "summary.json").read_text())
    legs = [(each["from_epoch"], each["to_epoch"], each["epochs"]) for each in summary["legs"]]
    assert legs == [(0, 2, 2), (2, 4, 4)]
    assert [each["extended"] for each in summary["legs"]] == [False, True]
    assert summary["legs"][1]["command"] == f"mlpcli {shlex.join(shlex.split(hint)[2:])}"
    done = mlpcli("train", "--resume", "smoke-1", "training.patience=1", "--extend")
    assert (done.returncode, "training.patience None, now it is 1" in done.stderr) == (5, True)


@pytest.mark.parametrize("options", [(), ("--extend",)])
def test_a_run_that_has_not_finished_is_not_extended(
    mlpcli: Command, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """No command could stop another run at the same step."""
    assert mlpcli("train", "smoke", *COSINE).returncode == 0
    previous = tmp_path / "runs/smoke-1/checkpoints/previous.npz"
    assert checkpoint.load(previous).epoch == 1
    done = mlpcli("train", "--resume", previous, "training.epochs=4", *options)
    assert done.returncode == 5
    error, hint = done.stderr.splitlines()
    assert "has finished 1 of 2 epochs: with a cosine schedule only a finished run can be" in error
    assert mlpcli(*shlex.split(hint)[2:]).returncode == 0


def test_an_extension_that_was_killed_resumes_without_being_asked_again(
    mlpcli: Command, tmp_path: Path
) -> None:
    assert mlpcli("train", "smoke", *COSINE).returncode == 0
    longer = [*COMMAND, "train", "--resume", "smoke-1", "--extend", "training.epochs=999"]
    with subprocess.Popen(longer, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(2):  # the warning, and an epoch
            process.stderr.readline()
        process.kill()
    assert mlpcli("runs", "--json").returncode == 0
    resumed = [*COMMAND, "train", "--resume", "smoke-1"]
    with subprocess.Popen(resumed, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert "epoch" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 143


def test_a_finished_run_is_only_summed_up_again(mlpcli: Command, trained: Path) -> None:
    before = trained.joinpath("metrics.csv").read_text()
    done = mlpcli("train", "--resume", trained)
    assert done.returncode == 0, done.stderr
    assert trained.joinpath("metrics.csv").read_text() == before


def test_the_thread_count_is_in_force_before_numpy_loads(
    mlpcli: Command, shapes_dir: Path, tmp_path: Path
) -> None:
    done = mlpcli("train", NOTE, *SMALL, "--set", "threads=1", "--data-dir", shapes_dir)
    assert done.returncode == 0
    environment = json.loads((tmp_path / "runs/note-1/environment.json").read_text())
    assert environment["threads"] == 1


WRONG = [
    (["trian"], 2, "No such command 'trian'"),
    (["train"], 2, "CONFIG is missing"),
    (["train", "nowhere.yaml"], 2, "nowhere.yaml: no such configuration file"),
    (["train", "."], 2, "cannot be read"),
    (["train", "empty.yaml"], 2, "empty.yaml: empty"),
    (["train", NOTE, "--set", "sede=1"], 2, "did you mean seed?"),
    (["train", NOTE, "--bogus"], 2, "No such option"),
    (["train", NOTE, "--min-val-accuracy", "2"], 2, "--min-val-accuracy"),
    (["train", NOTE, "--min-val-accuracy", "0.5", "--set", "data.val_size=0"], 2, "validation"),
    (["train", NOTE, "--data-dir", "nowhere"], 4, "expected one that holds cifar-10-batches-py"),
    (["train", NOTE, "--data-dir", "corrupt"], 4, "batches.meta: not a CIFAR-10 batch"),
    (["train", NOTE, "--data-dir", "empty.yaml"], 4, "empty.yaml: a file, expected a folder"),
    (["train", "--resume", "nowhere"], 5, "nowhere: no such run or checkpoint"),
    (["train", "shapes.yaml", "--runs-dir", "empty.yaml"], 1, "no run can be made there"),
    (["eval", "nowhere.npz"], 5, "nowhere.npz: no such checkpoint"),
    (["eval", "empty.yaml"], 5, "empty.yaml: not a valid checkpoint of mlpcli"),
    (["eval", "."], 5, "not a run's folder"),
    (["eval"], 2, "Missing argument"),
    (["eval", "x.npz", "--split", "tset"], 2, "'tset' is not one of 'test', 'val', 'train'"),
    (["gradcheck", "nowhere.yaml"], 2, "no such configuration file"),
    (["download", "--sha256", "abc"], 2, "expected 64 hexadecimal digits"),
    (["download", "--url", "ftp://x"], 2, "expected an address as in http"),
    (["download", "--url", "http://[::1"], 2, "expected an address as in http"),
    (["download", "--url", "http://x:port/"], 2, "expected an address as in http"),
    (["download", "--data-dir", "corrupt"], 4, "try: mlpcli download --data-dir corrupt --force"),
    (["download", "--synthetic", "--data-dir", "corrupt"], 4, "batches.meta: not a CIFAR-10 batch"),
    (["download", "--data-dir", "~nobody-here/x"], 2, "~nobody-here/x"),
    (["train", NOTE, "--min-val-accuracy", "nan"], 2, "nan is not in the range"),
    (["eval", "x.npz", "--min-accuracy", "nan"], 2, "nan is not in the range"),
    (["train", "shapes.yaml", "--set", "data.val_size=10000"], 2, "fewer than the 10000"),
    (["train", NOTE, "--set", "training.batch_size=99999999"], 2, "at most 1000000"),
    (["train", NOTE, "--set", r'name="\UFFFFFFFF"'], 2, "not valid YAML"),
    (["train", "base.yaml"], 2, "base.yaml:1: base: "),
    (["gradcheck"], 2, "CONFIG is missing"),
    (["gradcheck", "shapes.yaml", "--checkpoint", "nowhere.npz"], 5, "no such checkpoint"),
    (["download", "--from", "a", "--url", "http://x"], 2, "exclude one another"),
    (["download", "--from", "nowhere", "--data-dir", "d"], 1, "nowhere: no such file"),
    (["download", "--from", "empty.yaml", "--data-dir", "d"], 4, "empty.yaml: found an empty file"),
    (["download", "--data-dir", "empty.yaml/x"], 1, "cannot be made"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "message"), WRONG, ids=lambda v: v if isinstance(v, str) else None
)
def test_wrong_input_is_one_clear_line_and_its_exit_code(
    mlpcli: Command, tmp_path: Path, arguments: list[object], code: int, message: str
) -> None:
    (tmp_path / "empty.yaml").touch()
    (tmp_path / "shapes.yaml").write_text("data: {name: synthetic, val_size: 1000}\n")
    (tmp_path / "base.yaml").write_text('base: "a\\0b"\n')
    corrupt = tmp_path / "corrupt" / "cifar-10-batches-py"
    corrupt.mkdir(parents=True)
    (corrupt / "batches.meta").write_bytes(b"garbage")
    done = mlpcli(*arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert done.stdout == ""
    first, *hint = done.stderr.splitlines()
    assert first.startswith("error: ")
    assert len(hint) <= 1
    assert all(line.startswith("  try: ") for line in hint)
    assert not (tmp_path / "runs").exists(), "nothing is left of a run that did not start"


def test_debug_shows_the_traceback_and_changes_no_exit_code(mlpcli: Command) -> None:
    for wrong in (["train", "nowhere.yaml"], ["train", "--bogus"], ["trian"]):
        done = mlpcli("--debug", *wrong)
        assert done.stderr.startswith("Traceback")
        assert "\nerror: " in done.stderr
        assert done.returncode == 2
    assert mlpcli("--debug", "train", "--help").stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("eval", "--", "--debug"),
        ("eval", "nowhere.npz", "--data-dir", "--debug"),
        ("train", "nowhere.yaml", "--debug"),
    ],
)
def test_debug_is_an_option_of_mlpcli_alone(mlpcli: Command, arguments: tuple[str, ...]) -> None:
    done = mlpcli(*arguments)
    assert done.returncode in (2, 5)
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_what_is_there_is_never_lost_without_force(mlpcli: Command, tmp_path: Path) -> None:
    notes = tmp_path / "data" / "cifar-10-batches-py" / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    assert mlpcli("download", "--synthetic", "--data-dir", "data").returncode == 4
    assert notes.read_text() == "mine"
    assert mlpcli("download", "--synthetic", "--data-dir", "data", "--force").returncode == 0
    assert not notes.exists()


def test_what_a_killed_download_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mlpcli", "download", "--synthetic", "--data-dir", "data"]
    with subprocess.Popen(command, cwd=tmp_path) as process:
        while not (tmp_path / "data" / ".unpacking").exists():
            time.sleep(0.01)
        process.kill()
    assert not (tmp_path / "data" / "cifar-10-batches-py").exists()
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"lock", "cifar-10-batches-py"}


def test_a_narrow_encoding_ends_nothing(mlpcli: Command) -> None:
    narrow = {**os.environ, "PYTHONIOENCODING": "ascii"}
    assert mlpcli("gradcheck", "--explain", env=narrow).returncode == 0


def test_without_fcntl_it_is_refused_at_once(mlpcli: Command, without: Without) -> None:
    env = without("fcntl")
    env["PYTHONPATH"] += f":{Path(mlpcli_package.__file__).parent.parent}"
    for arguments in (["train", "smoke"], ["--version"]):
        done = mlpcli(*arguments, env=env)
        assert done.returncode == 1
        assert re.fullmatch("error: mlpcli needs Linux or macOS: .* WSL\n", done.stderr)


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("numpy", ["--version"]),
        ("distributed", ["sweep", "sweep", "--scheduler", "tcp://127.0.0.1:1"]),
    ],
)
def test_a_package_that_fails_while_it_is_imported_is_named(
    mlpcli: Command, tmp_path: Path, package: str, arguments: list[str]
) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("raise ValueError('bad file x.yaml')")
    path = f"{tmp_path}:{Path(mlpcli_package.__file__).parent.parent}"
    done = mlpcli(*arguments, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 1
    expected = f"error: {package} cannot be imported: ValueError: bad file x.yaml\n"
    assert done.stderr.startswith(expected)


def test_an_unknown_completion_is_one_clear_line(mlpcli: Command) -> None:
    done = mlpcli("train", env={**os.environ, "_MLPCLI_COMPLETE": "tcsh_source"})
    assert (done.returncode, done.stderr) == (
        2,
        "error: _MLPCLI_COMPLETE: found tcsh_source, expected as in bash_source\n",
    )


def test_a_configuration_with_spaces_in_its_name_trains(
    mlpcli: Command, shapes_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "my note.yaml").write_text(NOTE.read_text())
    done = mlpcli(
        "train", "my note.yaml", *SMALL, "--data-dir", shapes_dir, "--runs-dir", "my runs"
    )
    assert done.returncode == 0, done.stderr
    assert "mlpcli eval 'my runs/my-note-1'" in done.stdout


def test_a_data_dir_in_the_configuration_holds_from_anywhere(
    mlpcli: Command, shapes_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").symlink_to(shapes_dir)
    assert mlpcli("train", NOTE, *SMALL, "--set", "data.dir=data").returncode == 0
    (tmp_path / "elsewhere").mkdir()
    assert mlpcli("eval", "../runs/note-1", cwd=tmp_path / "elsewhere").returncode == 0


@pytest.mark.parametrize("gone", ["best.npz", "last.npz"])
def test_a_run_whose_checkpoint_is_gone_is_not_begun_again_silently(
    mlpcli: Command, trained: Path, gone: str
) -> None:
    (trained / "checkpoints" / gone).unlink()
    done = mlpcli("train", "--resume", trained)
    assert done.returncode == 5
    assert gone in done.stderr


def test_a_run_killed_in_its_first_save_begins_again(
    mlpcli: Command, shapes_dir: Path, tmp_path: Path
) -> None:
    """The best network is saved before the last: a kill between the two leaves it alone."""
    train = ("train", NOTE, *SMALL[:2], "--set", "training.epochs=1", "--data-dir", shapes_dir)
    assert mlpcli(*train).returncode == 0
    saves = tmp_path / "runs" / "note-1" / "checkpoints"
    before = checkpoint.load(saves / "last.npz")
    (saves / "last.npz").unlink()
    done = mlpcli("train", "--resume", "runs/note-1")
    assert done.returncode == 0, done.stderr
    after = checkpoint.load(saves / "last.npz")
    assert after.named_params["W1"].tobytes() == before.named_params["W1"].tobytes()


def test_control_characters_are_escaped() -> None:
    assert printable("a\x1b[31mb\nc\x07 é") == r"a\x1b[31mb\nc\x07 é"
