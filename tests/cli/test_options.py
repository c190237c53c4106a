"""What every command accepts: names, runs, `~`, `-`, KEY=VALUE; and where its hints lead."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from conftest import CONFIGS, TINY, Command, Without
from faults.shell import call
from servers import Sends, serving

from mlpcli.cifar10 import batches
from mlpcli.cifar10.mirrors import OFFICIAL
from mlpcli.cli._options import write
from mlpcli.config import loading
from mlpcli.errors import MlpcliError


def test_a_key_and_its_value_need_no_set(mlpcli: Command, trained: Path) -> None:
    config = loading.load(trained)
    assert (config.training.epochs, config.model.hidden) == (1, (4,))
    done = mlpcli("train", "--resume", "smoke-1", "training.epochs=2", "--extend", "--json")
    assert json.loads(done.stdout)["epochs"] == 2
    done = mlpcli("train", "smoke", "epochs")
    assert (done.returncode, "--set epochs: expected KEY=VALUE" in done.stderr) == (2, True)


@pytest.mark.slow
def test_a_run_is_accepted_by_its_folder_or_its_name(mlpcli: Command, trained: Path) -> None:
    for run in (trained, "runs/smoke-1", "smoke-1"):
        assert mlpcli("eval", run, "--split", "val").returncode == 0
        assert "hidden: [4]" in mlpcli("config", "show", run).stdout
    assert mlpcli("gradcheck", "smoke-1", "--checkpoint", "smoke-1").returncode == 0
    assert mlpcli("train", "smoke-1", "--json").returncode == 0
    assert (trained.parent / "smoke-2").is_dir()


def test_runs_are_found_where_the_command_puts_them(mlpcli: Command, tmp_path: Path) -> None:
    assert mlpcli("train", "smoke", *TINY, "--runs-dir", "r").returncode == 0
    done = mlpcli(
        "train", "--runs-dir", "r", "--resume", "smoke-1", "training.epochs=2", "--extend"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_tilde_is_the_home_folder_wherever_a_path_is_meant(
    mlpcli: Command, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "own.yaml").write_text("base: smoke\n")
    env = {**os.environ, "HOME": str(home)}
    done = mlpcli("train", "~/own.yaml", *TINY, "--runs-dir=~/runs", env=env)
    assert done.returncode == 0, done.stderr
    assert (home / "runs" / "own-1" / "summary.json").is_file()
    assert not (tmp_path / "~").exists()
    assert mlpcli("eval", "~/runs/own-1", env=env).returncode == 0
    assert mlpcli("report", "~/runs/own-1", "--out=~/page.html", env=env).returncode == 0
    assert (home / "page.html").is_file()
    done = mlpcli("train", "~nobody-here/x.yaml")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


@pytest.mark.slow
def test_a_dash_is_standard_input_and_output(mlpcli: Command, trained: Path) -> None:
    text = (CONFIGS / "smoke.yaml").read_text()
    done = mlpcli("train", "-", *TINY, "--json", input=text)
    assert json.loads(done.stdout)["run_dir"] == "runs/stdin-1"
    done = mlpcli("report", "smoke-1", "--out", "-")
    assert done.stdout.startswith("<!doctype html>")
    assert "open it in a browser" in done.stderr
    done = mlpcli("config", "copy", "fast", "-")
    assert done.stdout.startswith("# yaml-language-server")


def test_a_pipe_is_a_configuration_whose_paths_start_here(mlpcli: Command, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("base: smoke\n")
    show = f"{shlex.quote(sys.executable)} -m mlpcli config show"
    for line in (f"echo base: own.yaml | {show} -", f"{show} <(echo base: own.yaml)"):
        done = call(["bash", "-c", line], tmp_path)
        assert done.stdout.startswith("name: stdin "), done.stderr
    two = call(["bash", "-c", rf"{show} <(printf 'seed: 1\n---\nseed: 2\n')"], tmp_path)
    assert re.search(r"^error: /dev/fd/\d+:2: .*second document", two.stderr)
    closed = call(["bash", "-c", f"{show} - <&-"], tmp_path)
    assert closed.stderr == "error: -: standard input is closed\n"


def test_an_image_is_read_from_standard_input(mlpcli: Command, trained: Path) -> None:
    image = b"P5 4 4 255 " + bytes(range(16))
    (trained.parent / "a.pgm").write_bytes(image)
    line = f"cat runs/a.pgm | {shlex.quote(sys.executable)} -m mlpcli predict smoke-1 -"
    done = call(["sh", "-c", line], trained.parent.parent)
    assert done.returncode == 0, done.stderr


def test_a_file_for_another_command_is_answered_with_that_command(
    mlpcli: Command, tmp_path: Path
) -> None:
    (tmp_path / "my sweep.yaml").write_text("base: smoke\nseeds: [0, 1]\n")
    done = mlpcli("train", "my sweep.yaml")
    assert done.returncode == 2
    assert done.stderr == (
        "error: my sweep.yaml: found a sweep's file, expected a configuration\n"
        "  try: mlpcli sweep 'my sweep.yaml'\n"
    )
    done = mlpcli("sweep", "note")
    assert done.stderr.endswith("expected a sweep's file\n  try: mlpcli train note\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trian smoke training.epochs=1", "No such command 'trian'; did you mean train?"),
        ("config lst", "No such command 'lst'; did you mean list?"),
        ("train smoke --epochs 1 -q", "No such option '--epochs'"),
        ("config show smoke --lr=0.2", "No such option '--lr'"),
        ("config show smoke --batch-size 64", "No such option '--batch-size'"),
        ("config show smoke --optimizer.momentum 0.8", "No such option '--optimizer.momentum'"),
        ("train", "train: CONFIG is missing"),
        ("gradcheck", "gradcheck: CONFIG is missing"),
        ("config show", "config show: CONFIG is missing"),
        ("train smkoe", "did you mean the shipped smoke?"),
        ("bogus", "No such command 'bogus'"),
        ("eval --bogus", "No such option '--bogus'"),
        ("train smoke --bogus", "No such option '--bogus'"),
        ("config copy smoke", "smoke.yaml: exists, and is not replaced"),
    ],
)
def test_a_hint_can_be_pasted(mlpcli: Command, tmp_path: Path, line: str, message: str) -> None:
    if "copy" in line:
        (tmp_path / "smoke.yaml").touch()
    done = mlpcli(*shlex.split(line))
    assert done.returncode == 2
    error, hint = done.stderr.splitlines()
    assert message in error
    command, *arguments = shlex.split(hint.removeprefix("  try: "))
    assert command == "mlpcli"
    again = mlpcli(*arguments)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("lr=0.1", "optimizer.learning_rate"),
        ("epochs=2", "training.epochs"),
        ("epsilon=1e-3", "features.epsilon or optimizer.epsilon"),
    ],
)
def test_a_key_without_its_section_is_answered_with_the_whole_one(
    mlpcli: Command, given: str, meant: str
) -> None:
    for arguments in (["--set", given], [given]):
        done = mlpcli("train", "smoke", *arguments)
        assert done.returncode == 2
        assert f"unknown key; did you mean {meant}?" in done.stderr


def test_h_is_help_for_every_command(mlpcli: Command) -> None:
    for command in ([], ["train"], ["config"], ["config", "show"]):
        assert mlpcli(*command, "-h").stdout == mlpcli(*command, "--help").stdout


def installer(mlpcli: Command, without: Without, prefix: Path, path: str) -> str:
    """Return the hint of a command that lacks Pillow, in an environment in the folder `prefix`."""
    code = f"import sys; sys.prefix = {str(prefix)!r}; from mlpcli.cli.main import main; main()"
    env = without("PIL") | {"PATH": path}
    done = call([sys.executable, "-c", code, "predict", "x", "y"], prefix, env=env)
    assert done.returncode == 1
    return re.findall(r"^  try: (.*)$", done.stderr, re.MULTILINE)[0]


def test_a_missing_package_is_installed_where_the_program_runs(
    mlpcli: Command, without: Without, tmp_path: Path
) -> None:
    own = str(Path(sys.executable).parent)
    assert installer(mlpcli, without, tmp_path, own) == "pip install pillow"
    elsewhere = installer(mlpcli, without, tmp_path, "/usr/bin:/bin")
    assert elsewhere == f"{sys.executable} -m pip install pillow"
    (tmp_path / "pipx_metadata.json").touch()
    assert installer(mlpcli, without, tmp_path, own) == f"pipx inject {tmp_path.name} pillow"


def follow(mlpcli: Command, done: object, code: int, *more: object, **options: object) -> None:
    """Paste the hint of a call that failed with `code`, with `more`; it must succeed."""
    assert done.returncode == code, done.stderr
    command, *arguments = shlex.split(re.findall(r"^  try: (.*)$", done.stderr, re.MULTILINE)[0])
    assert command == "mlpcli"
    again = mlpcli(*arguments, *more, **options)
    assert again.returncode == 0, again.stderr


@pytest.mark.slow
def test_the_hint_of_missing_data_fetches_them(
    mlpcli: Command, shapes_dir: Path, tmp_path: Path
) -> None:
    archive = tmp_path / OFFICIAL.file_name
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(shapes_dir / batches.PYTHON_FOLDER, batches.PYTHON_FOLDER)
    content = archive.read_bytes()
    train = ("train", "note", "data.val_size=50", *TINY, "--data-dir", "my data")
    with serving(Sends(content)) as server:
        digest = ("--sha256", hashlib.sha256(content).hexdigest())  # it is not the official one
        env = {**os.environ, "MLPCLI_CIFAR10_URL": server.url}
        follow(mlpcli, mlpcli(*train), 4, *digest, env=env)
        assert mlpcli(*train).returncode == 0
        (tmp_path / "my data" / batches.PYTHON_FOLDER / "data_batch_3").unlink()
        incomplete = mlpcli(*train)  # and not the official one: no hint is to replace it
        assert (incomplete.returncode, incomplete.stderr.count("\n")) == (4, 1)
        assert incomplete.stderr.endswith("data_batch_3: missing\n")
        follow(mlpcli, mlpcli("download", "--offline", "--data-dir", "other"), 4, *digest, env=env)


def test_the_hint_at_a_corrupt_data_set_replaces_it(mlpcli: Command, tmp_path: Path) -> None:
    folder = tmp_path / "data" / batches.PYTHON_FOLDER
    folder.mkdir(parents=True)
    (folder / "batches.meta").write_bytes(b"garbage")
    follow(mlpcli, mlpcli("download", "--synthetic", "--data-dir", "data"), 4)


@pytest.mark.slow
def test_the_hint_at_a_corrupt_checkpoint_uses_the_valid_one(
    mlpcli: Command, trained: Path
) -> None:
    assert mlpcli("train", "--resume", trained, "training.epochs=3", "--extend").returncode == 0
    (trained / "checkpoints" / "last.npz").write_bytes(b"PK")
    follow(mlpcli, mlpcli("train", "--resume", trained, "training.epochs=4"), 5)
    (trained / "checkpoints" / "best.npz").write_bytes(b"PK")
    follow(mlpcli, mlpcli("eval", trained), 5)


def test_the_hint_at_a_divergence_trains_with_a_smaller_rate(mlpcli: Command) -> None:
    wild = ("optimizer.learning_rate=0.5", "model.activation=relu", "model.hidden=[64]")
    follow(mlpcli, mlpcli("train", "smoke", *wild), 6)


@pytest.mark.parametrize("out", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/null"])
def test_what_is_open_already_is_written_to_and_stays_what_it_is(tmp_path: Path, out: str) -> None:
    code = (
        "import sys; from mlpcli.cli._options import Path, write; write(Path(sys.argv[1]), b'new')"
    )
    command = [sys.executable, "-c", code, out]
    expected = b"" if out == "/dev/null" else b"new"
    assert subprocess.run(command, capture_output=True, check=True).stdout == expected
    log = tmp_path / "log"
    log.write_bytes(b"before ")
    with log.open("ab") as file:
        subprocess.run(command, stdout=file, check=True)
    assert log.read_bytes() == b"before " + expected
    assert Path(os.devnull).is_char_device()


def test_a_pipe_and_a_link_are_written_to_and_stay(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        write(pipe, b"new")
        assert reader.communicate()[0] == b"new"
    link.symlink_to("file")
    write(link, b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert (link.is_symlink(), pipe.is_fifo()) == (True, True)
    with pytest.raises(MlpcliError, match="/dev/full: cannot be written: No space left on device"):
        write(Path("/dev/full"), b"new")
