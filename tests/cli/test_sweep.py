"""`mlpcli sweep` as a shell sees it: real processes, a real scheduler, and workers that die."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import trustme
from conftest import CONFIGS, TINY, Command, Without
from faults.shell import MLPCLI, one_thread, require_same

from mlpcli.runs import checkpoint

# Trials of a second, and trials of some seconds, which are saved all the time.
SHORT = """
base: BASE
set: {model.hidden: [16], training.epochs: 20, data.val_size: 50}
grid: {optimizer.learning_rate: [0.05, 0.2RATES]}
seeds: [0, 1]
"""
LONG = """
base: BASE
set:
  model.hidden: [16]
  training.epochs: 500
  training.checkpoint_steps: 50
  data.val_size: 50
grid: {optimizer.learning_rate: [0.05, 0.2]}
seeds: [0, 1]
"""
DIVERGES = ", 1e300"
SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
ONE_WORKER = ("--workers", "1", "--set", "threads=1")

# Every process that imports it writes its number into a file each time that it reads the data.
WATCHED = """
import os, sys
def watch(event, arguments):
    if event == "open" and str(arguments[0]).endswith("data_batch_1"):
        with open(os.environ["READERS"], "a") as file:
            file.write(f"{os.getpid()}\\n")
sys.addaudithook(watch)
"""


def write_sweep(folder: Path, text: str, rates: str = "") -> Path:
    path = folder / "sweep.yaml"
    path.write_text(text.replace("BASE", str(CONFIGS / "note.yaml")).replace("RATES", rates))
    return path


@pytest.fixture
def watched(tmp_path: Path) -> dict[str, str]:
    """The environment of processes that say each time that they read the training images."""
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCHED)
    environment = one_thread()
    environment["PYTHONPATH"] = f"{tmp_path / 'watch'}:{environment['PYTHONPATH']}"
    return environment | {"READERS": str(tmp_path / "readers")}


def readers(tmp_path: Path) -> list[str]:
    return (tmp_path / "readers").read_text().split()


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


def until(holds: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.02)


@pytest.mark.slow
def test_what_a_user_has_set_for_dask_does_not_count(mlpcli: Command, tmp_path: Path) -> None:
    (tmp_path / "dask.yaml").write_text("distributed: {worker: {preload: [no_such_module]}}\n")
    (tmp_path / "sweep.yaml").write_text("base: smoke\nseeds: [0]\n")
    env = {
        **os.environ,
        "DASK_CONFIG": str(tmp_path / "dask.yaml"),
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
        "DASK_TEMPORARY_DIRECTORY": "/proc/none",
    }
    done = mlpcli("sweep", "sweep.yaml", *TINY, *ONE_WORKER, env=env)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_sweep_reports_what_failed_finishes_the_rest_and_goes_on_with_no_more_than_that(
    mlpcli: Command, shapes_dir: Path, tmp_path: Path, watched: dict[str, str]
) -> None:
    sweep = ("sweep", write_sweep(tmp_path, SHORT, DIVERGES), "--data-dir", shapes_dir)
    done = mlpcli(*sweep, "--workers", 2, env=watched)
    folder = tmp_path / "runs" / "sweep"
    assert done.returncode == 6
    assert done.stderr.count("  val ") == 4
    assert done.stderr.count("warning: runs/sweep/trial-5 failed: training diverged: ") == 1
    *_, error = done.stderr.splitlines()
    assert error.startswith("error: 2 of 6 trials failed: runs/sweep/trial-5: training diverged")
    table = done.stdout.splitlines()
    assert table[0] == "learning_rate  validation accuracy  seeds"
    assert table[3].split() == ["1e+300", "failed", "0", "of", "2"]
    assert "mlpcli report runs/sweep" in table[-1]
    assert max(map(len, table)) <= 100
    pids = readers(tmp_path)
    assert len(pids) == len(set(pids)) == 2, "each worker reads the data once"

    found = rows(folder)
    assert [row["seed"] for row in found] == ["0", "1"] * 3
    assert [bool(row["error"]) for row in found] == [False] * 4 + [True] * 2
    assert len(list((tmp_path / "runs").iterdir())) == 1

    written = [(folder / f"trial-{i}" / "summary.json").stat().st_mtime_ns for i in (1, 2, 3, 4)]
    again = mlpcli(*sweep, "--json", env=watched)
    assert again.returncode == 6
    assert again.stderr.startswith("4 of 6 trials are finished already\n")
    document = json.loads(again.stdout)
    assert list(document) == ["sweep_dir", "csv", "ranking", "trials"]
    assert [str(one["val_accuracy"] or "") for one in document["trials"]] == [
        row["val_accuracy"] for row in found
    ]
    assert [one["seeds"] for one in document["ranking"]] == [2, 2, 0]
    assert [one["std"] is None for one in document["ranking"]] == [False, False, True]

    write_sweep(tmp_path, SHORT)
    last = mlpcli(*sweep, "--quiet", env=watched)
    assert (last.returncode, last.stderr) == (0, "")
    assert len(last.stdout.splitlines()) == 6
    after = [(folder / f"trial-{i}" / "summary.json").stat().st_mtime_ns for i in (1, 2, 3, 4)]
    assert after == written


@pytest.mark.slow
def test_a_trial_is_the_same_to_the_bit_as_its_configuration_trained_alone(
    mlpcli: Command, shapes_dir: Path, tmp_path: Path
) -> None:
    sweep = write_sweep(tmp_path, SHORT)
    done = mlpcli("sweep", sweep, "--data-dir", shapes_dir, "--workers", 2, "--set", "threads=1")
    assert done.returncode == 0, done.stderr
    for i in (1, 4):
        trial = tmp_path / "runs" / "sweep" / f"trial-{i}"
        alone = mlpcli("train", trial / "config.yaml", "--runs-dir", f"alone-{i}")
        assert alone.returncode == 0, alone.stderr
        require_same(trial, tmp_path / f"alone-{i}" / "trial-1")
        facts = [
            json.loads((path / "environment.json").read_text())
            for path in (trial, tmp_path / f"alone-{i}" / "trial-1")
        ]
        commands = [fact.pop("command").split()[1] for fact in facts]
        assert commands == ["sweep", "train"]
        assert facts[0].pop("time") <= facts[1].pop("time")
        legs = [fact.pop("legs") for fact in facts]
        assert [leg.pop("command").split()[1] for (leg,) in legs] == commands
        assert legs[0] == legs[1]
        assert facts[0] == facts[1]
        assert facts[0]["threads"] == 1


@pytest.mark.slow
def test_no_process_of_a_sweep_can_be_connected_to(shapes_dir: Path, tmp_path: Path) -> None:
    sweep = [*MLPCLI, "sweep", str(write_sweep(tmp_path, LONG)), "--data-dir", str(shapes_dir)]
    trial = tmp_path / "runs" / "sweep" / "trial-1"
    with subprocess.Popen([*sweep, "--workers", "2"], cwd=tmp_path, **SILENT) as process:
        until(lambda: epoch_of(trial) >= 1)
        own = psutil.Process(process.pid)
        tree = [own, *own.children(recursive=True)]
        inodes = {inode for each in tree for inode in sockets(each.pid)}
        named = {inode: line for inode, line in addresses().items() if inode in inodes}
        process.kill()
    assert len(tree) == 3
    assert len(inodes) == 4, "two pairs of sockets"
    assert named == {}


def sockets(pid: int) -> list[str]:
    """The inodes of a process's sockets."""
    links = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    return [link[len("socket:[") : -1] for link in links if link.startswith("socket:[")]


def addresses() -> dict[str, str]:
    """The line in /proc of each socket that has an address, by its inode."""
    found = {}
    for name in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            found[line.split()[9]] = line
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        columns = line.split()
        if len(columns) > 7:  # the path, or the abstract name
            found[columns[6]] = line
    return found


# What Python and the packages import as they start; any of them may lie in the current folder.
NAMES = (
    *("types", "struct", "collections", "signal", "json", "random", "logging", "threading"),
    *("multiprocessing", "subprocess", "socket", "selectors", "pickle", "queue", "tempfile"),
    *("numpy", "yaml", "click", "distributed", "mlpcli", "sitecustomize", "usercustomize"),
)


@pytest.mark.slow
def test_no_worker_runs_python_files_of_the_current_folder(
    shapes_dir: Path, tmp_path: Path
) -> None:
    for name in NAMES:
        text = f"open({str(tmp_path / 'ran')!r}, 'a').write('{name} ')"
        (tmp_path / f"{name}.py").write_text(text)
    # As the installed command: unlike `python -m`, it does not import from the current folder.
    command = tmp_path / "bin" / "mlpcli"
    command.parent.mkdir()
    command.write_text("from mlpcli.__main__ import main; main()")
    sweep = [sys.executable, str(command), "sweep", str(write_sweep(tmp_path, SHORT))]
    sweep += ["--data-dir", str(shapes_dir), "training.epochs=1", *ONE_WORKER]
    done = subprocess.run(sweep, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()
    assert done.returncode == 0, done.stderr
    recorded = json.loads((tmp_path / "runs/sweep/trial-1/environment.json").read_text())
    assert recorded["command"].startswith("mlpcli sweep ")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """The address of a Dask scheduler in a process of its own."""
    port = free_port()
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    with dask("scheduler", *arguments, cwd=tmp_path, env=one_thread()):
        yield f"tcp://127.0.0.1:{port}"


@contextlib.contextmanager
def dask(*arguments: str, cwd: Path, env: dict[str, str]) -> Iterator[None]:
    """Run one of Dask's own commands."""
    with (
        (cwd / f"{arguments[0]}.log").open("ab") as log,
        subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments], cwd=cwd, env=env, stderr=log
        ) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_trial_and_no_more_than_what_was_not_saved(
    mlpcli: Command,
    shapes_dir: Path,
    tmp_path: Path,
    scheduler: str,
    watched: dict[str, str],
) -> None:
    worker = ("worker", scheduler, "--nthreads", "1", "--no-dashboard")
    sweep = [*MLPCLI, "sweep", str(write_sweep(tmp_path, LONG)), "--data-dir", str(shapes_dir)]
    trial = tmp_path / "runs" / "sweep" / "trial-1"
    with (
        dask(*worker, cwd=tmp_path, env=watched),
        dask(*worker, cwd=tmp_path, env=watched),
        subprocess.Popen(
            [*sweep, "--scheduler", scheduler],
            cwd=tmp_path,
            env=one_thread(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as client,
    ):
        until(lambda: epoch_of(trial) >= 50)
        saved, before = epoch_of(trial), (trial / "metrics.csv").read_text().splitlines()
        killed = (trial / "lock").read_text().split()[0]
        os.kill(int(killed), signal.SIGKILL)
        _, stderr = client.communicate(timeout=60)
    assert client.returncode == 0, stderr
    lines = [line for line in stderr.splitlines() if "no worker has joined" not in line]
    assert stderr.count("  val ") == len(lines) == 4
    assert not [row for row in rows(trial.parent) if row["error"]]

    after = (trial / "metrics.csv").read_text().splitlines()
    assert after[: saved + 1] == before[: saved + 1], "what was saved is not trained again"
    pids = readers(tmp_path)
    assert killed in pids
    assert len(pids) == len(set(pids)) <= 3, "two workers, and one in the place of the killed"
    assert mlpcli("train", trial / "config.yaml", "--runs-dir", "alone").returncode == 0
    require_same(trial, tmp_path / "alone" / "trial-1")


Certificates = dict[str, list[str]]


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """Options that name the files of an authority and of a certificate by it, of two kinds."""
    found = {}
    for name in ("own", "foreign"):
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        files = [tmp_path / f"{name}{end}" for end in ("-ca.pem", ".pem", ".key")]
        authority.cert_pem.write_to_path(str(files[0]))
        certificate.cert_chain_pems[0].write_to_path(str(files[1]))
        certificate.private_key_pem.write_to_path(str(files[2]))
        options = ("--tls-ca-file", "--tls-cert", "--tls-key")
        found[name] = [str(each) for pair in zip(options, files, strict=True) for each in pair]
    return found


@pytest.mark.slow
def test_a_cluster_of_tls_trains_for_who_has_a_certificate_and_for_nobody_else(
    mlpcli: Command, shapes_dir: Path, tmp_path: Path, certificates: Certificates
) -> None:
    own, foreign = certificates["own"], certificates["foreign"]
    port = str(free_port())
    address = f"tls://127.0.0.1:{port}"
    sweep = ("sweep", write_sweep(tmp_path, SHORT), "training.epochs=1", "--data-dir", shapes_dir)
    start = ["--protocol", "tls", "--host", "127.0.0.1", "--port", port, "--no-dashboard", *own]
    worker = ["worker", address, "--nthreads", "1", "--no-dashboard", *own]
    with (
        dask("scheduler", *start, cwd=tmp_path, env=one_thread()),
        dask(*worker, cwd=tmp_path, env=one_thread()),
    ):
        done = mlpcli(*sweep, "--scheduler", address, *own)
        assert done.returncode == 0, done.stderr
        assert [row["state"] for row in rows(tmp_path / "runs" / "sweep")] == ["finished"] * 4
        others = ("--runs-dir", "others", "--scheduler")
        for options in (foreign, [*own[:2], *foreign[2:]]):
            done = mlpcli(*sweep, *others, address, *options)
            assert done.returncode == 1
            assert done.stderr.startswith(f"error: --scheduler {address}: TLS fails: ")
            assert len(done.stderr.splitlines()) == 1
        done = mlpcli(*sweep, *others, f"tcp://127.0.0.1:{port}")
        assert done.returncode == 1
        assert "no Dask scheduler answers there" in done.stderr
    assert not [row for row in rows(tmp_path / "others" / "sweep") if row["state"] != "unfinished"]


@pytest.mark.slow
def test_files_of_tls_that_cannot_be_used_are_named(
    mlpcli: Command, tmp_path: Path, certificates: Certificates
) -> None:
    sweep = ("sweep", write_sweep(tmp_path, SHORT), "--scheduler")
    own, address = certificates["own"], "tls://127.0.0.1:1"
    (tmp_path / "no.pem").write_text("no certificate")
    for arguments, message in [
        (["tcp://127.0.0.1:1", *own], "--tls-ca-file: found --scheduler tcp://127.0.0.1:1, expect"),
        ([address], "--scheduler: tls:// needs --tls-ca-file, --tls-cert and --tls-key"),
        ([address, *own[:2]], "--scheduler: tls:// needs --tls-ca-file, --tls-cert and --tls-key"),
        ([address, "--tls-key", "none"], "--tls-key none: no such file"),
        ([address, *own, "--tls-ca-file", "no.pem"], "--tls-ca-file, --tls-cert, --tls-key: found"),
        ([address, *own[:4]], "--tls-ca-file, --tls-cert, --tls-key: found"),
    ]:
        done = mlpcli(*sweep, *arguments)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(f"error: {message}"), done.stderr


@pytest.mark.slow
def test_a_trial_that_workers_die_of_fails_and_one_that_waited_behind_it_does_not(
    shapes_dir: Path, tmp_path: Path
) -> None:
    sweep = write_sweep(
        tmp_path, LONG.replace("[0, 1]", "[0]").replace("epochs: 500", "epochs: 200")
    )
    trial = tmp_path / "runs" / "sweep" / "trial-1"
    with subprocess.Popen(
        [*MLPCLI, "sweep", str(sweep), "--data-dir", str(shapes_dir), *ONE_WORKER],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        dead = ""
        for _ in range(4):
            until(lambda: holder(trial) not in ("", dead))  # noqa: B023 - called at once
            dead = holder(trial)
            os.kill(int(dead), signal.SIGKILL)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    failed, trained, error = stderr.splitlines()
    assert failed.startswith("warning: runs/sweep/trial-1 failed: 4 workers died of it (optimizer")
    assert trained.startswith("runs/sweep/trial-2  val ")
    assert error == "error: 1 of 2 trials failed: runs/sweep/trial-1: 4 workers died of it"


def holder(run: Path) -> str:
    """The process that trains a run, or has died while it did."""
    lock = run / "lock"
    return lock.read_text().partition(" ")[0] if lock.exists() else ""


def epoch_of(run: Path) -> int:
    last = run / "checkpoints" / "last.npz"
    return checkpoint.load(last).epoch if last.exists() else 0


def test_a_worker_with_other_threads_says_how_to_start_it(
    mlpcli: Command, without: Without, shapes_dir: Path, tmp_path: Path, scheduler: str
) -> None:
    sweep = ("sweep", write_sweep(tmp_path, SHORT), "--data-dir", shapes_dir)
    worker = ("worker", scheduler, "--nthreads", "1", "--no-dashboard", "--no-nanny")
    environment = without("threadpoolctl") | {"OPENBLAS_NUM_THREADS": "3"}
    with dask(*worker, cwd=tmp_path, env=environment):
        done = mlpcli(*sweep, "--scheduler", scheduler)
    assert done.returncode == 1
    assert "start workers with OPENBLAS_NUM_THREADS=1" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_is_stopped_leaves_no_process_and_goes_on(
    mlpcli: Command, shapes_dir: Path, tmp_path: Path, number: signal.Signals
) -> None:
    sweep = [*MLPCLI, "sweep", str(write_sweep(tmp_path, LONG)), "--data-dir", str(shapes_dir)]
    folder = tmp_path / "runs" / "sweep"
    with subprocess.Popen(
        [*sweep, "--workers", "2"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        until(lambda: epoch_of(folder / "trial-1") >= 10)
        assert len(group(process.pid)) > 2
        # As a terminal does: to all of its processes. A kill is for one.
        send = os.kill if number == signal.SIGKILL else os.killpg
        send(process.pid, number)
        _, stderr = process.communicate(timeout=20)
    until(lambda: not group(process.pid), 10)
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 128 + number
        assert stderr.splitlines()[-1].startswith(f"error: {number.name}: ")
        assert stderr.endswith("trials are left; the same command resumes them\n")
        assert "Traceback" not in stderr
    if number == signal.SIGINT:
        reached = epoch_of(folder / "trial-1")
        before = (folder / "trial-1" / "metrics.csv").read_text().splitlines()
        assert mlpcli(*sweep[3:], "--workers", 2).returncode == 0
        after = (folder / "trial-1" / "metrics.csv").read_text().splitlines()
        assert after[: reached + 1] == before[: reached + 1]
        assert len(after) == 501


def group(leader: int) -> list[psutil.Process]:
    """The processes of a group that have not ended."""
    found = []
    for process in psutil.process_iter():
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and os.getpgid(process.pid) == leader:
                found.append(process)
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return found


def test_a_second_sweep_of_the_same_folder_is_refused(
    mlpcli: Command, shapes_dir: Path, tmp_path: Path
) -> None:
    sweep = [*MLPCLI, "sweep", str(write_sweep(tmp_path, LONG)), "--data-dir", str(shapes_dir)]
    with subprocess.Popen(sweep, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        lock = tmp_path / "runs" / "sweep" / "lock"
        until(lambda: lock.exists() and lock.read_text())
        done = mlpcli(*sweep[3:])
        process.kill()
    assert done.returncode == 7
    assert f"in use by process {process.pid}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "sweep: CONFIG is missing"),
        (["none.yaml"], 2, "none.yaml: no such configuration file"),
        (["sweep.yaml", "--workers", "0"], 2, "--workers"),
        (["sweep.yaml", "--workers", "2", "--scheduler", "tcp://x:1"], 2, "exclude one another"),
        (["sweep.yaml", "--scheduler", "127.0.0.1:8786"], 2, "expected an address as in tcp://"),
        (["sweep.yaml", "--scheduler", "http://x:1"], 2, "expected an address as in tcp://"),
        (["sweep.yaml", "--set", "sede=1"], 2, "did you mean seed?"),
        (["sweep.yaml", "--runs-dir", "sweep.yaml"], 1, "sweep.yaml"),
    ],
)
def test_wrong_use_is_one_clear_line_and_leaves_nothing(
    mlpcli: Command, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    write_sweep(tmp_path, SHORT)
    done = mlpcli("sweep", *arguments)
    assert done.returncode == code
    assert message in done.stderr.splitlines()[0]
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_where_no_scheduler_answers_it_says_so_soon(mlpcli: Command, tmp_path: Path) -> None:
    start, address = time.monotonic(), f"tcp://127.0.0.1:{free_port()}"
    done = mlpcli("sweep", write_sweep(tmp_path, SHORT), "--scheduler", address)
    assert time.monotonic() - start < 10
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: --scheduler {address}: no Dask scheduler answers there; start")


def test_where_dask_is_missing_a_cluster_names_the_extra_and_this_machine_needs_none(
    mlpcli: Command, without: Without, shapes_dir: Path, tmp_path: Path
) -> None:
    sweep = ("sweep", write_sweep(tmp_path, SHORT), "--data-dir", shapes_dir, "training.epochs=1")
    done = mlpcli(*sweep, "--scheduler", "tcp://127.0.0.1:8786", env=without("distributed"))
    assert done.returncode == 1
    assert "error: sweep needs distributed, which is not installed" in done.stderr
    assert "pip install distributed" in done.stderr
    assert not (tmp_path / "runs").exists()
    assert mlpcli(*sweep, *ONE_WORKER, env=without("distributed")).returncode == 0
