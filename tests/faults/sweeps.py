"""Rows 31-34: sweeps on shared machines: planted files, sockets, files and limits of others."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import psutil

from faults.mutations import mutated, mutations
from faults.rows import Case, row
from faults.shell import call, new_folder, shapes
from mlpcli import environment
from mlpcli.config.loading import to_dict
from mlpcli.runs.reading import SUMMARY
from mlpcli.sweep import plan, trials

SWEEP = """
base: note
set: {model.hidden: [4], training.epochs: EPOCHS, data.val_size: 50, threads: 1}
seeds: [0, 1]
"""
# What Python and the packages import as they start; any of them may lie in the current folder.
NAMES = (
    *("types", "struct", "collections", "signal", "json", "random", "logging", "threading"),
    *("multiprocessing", "subprocess", "socket", "selectors", "pickle", "queue", "tempfile"),
    *("numpy", "yaml", "click", "distributed", "mlpcli", "sitecustomize", "usercustomize"),
)


def write_sweep(folder: Path, epochs: int) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(SWEEP.replace("EPOCHS", str(epochs)))
    return path


def sweep(folder: Path, epochs: int, workers: int) -> list[str]:
    """Return the command of a sweep as it is installed: unlike `python -m`, not from the folder."""
    command = folder / "bin" / "mlpcli"
    command.parent.mkdir()
    command.write_text("from mlpcli.__main__ import main; main()")
    options = ["--data-dir", str(shapes()), "--workers", str(workers)]
    return [sys.executable, str(command), "sweep", str(write_sweep(folder, epochs)), *options]


@row(30, "Python files in the current folder of a sweep", cases=22, few=2, whole=True)
def planted(seed: int) -> Iterator[Case]:
    for name in NAMES:
        yield f"{name}.py", partial(_not_run, name)


def _not_run(name: str) -> None:
    with new_folder() as path:
        (path / f"{name}.py").write_text(f"open({str(path / 'ran')!r}, 'w')")
        done = call(sweep(path, 1, 1), path)
        assert not (path / "ran").exists()
        assert done.returncode == 0, done.stderr


@row(31, "a socket of a sweep to which others can connect", cases=20, few=1)
def connected(seed: int) -> Iterator[Case]:
    for i in itertools.count():
        seconds = random.Random(f"{seed}-{i}").uniform(0, 3)
        yield f"after {seconds:.2f} s", partial(_has_no_address, seconds, i % 2 == 1)


def _has_no_address(seconds: float, kill: bool) -> None:
    """Look at all sockets of a sweep after so long, half the time as a worker is replaced."""
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with (
        new_folder() as path,
        subprocess.Popen(sweep(path, 100_000, 2), cwd=path, **silent) as process,
    ):
        try:
            own = psutil.Process(process.pid)
            while not (workers := own.children()):
                assert process.poll() is None
                time.sleep(0.02)
            time.sleep(seconds)
            if kill:
                workers[0].kill()
                time.sleep(0.3)
            tree = [own, *own.children(recursive=True)]
            addresses = [
                str(each.laddr)
                for one in tree
                for kind in ("inet", "unix")
                for each in one.net_connections(kind)
                if each.laddr
            ]
        finally:
            left = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            psutil.wait_procs(left, 60)  # they save what they have
    assert len(tree) > 1
    assert addresses == []


@cache
def _trial() -> tuple[bytes, bytes]:
    """The summary.json and config.yaml of a trial that has finished."""
    with new_folder() as path:
        (path / "runs").mkdir()
        entry, _ = trials.entries(plan.load(write_sweep(path, 1)), path / "runs")
        figures = dict.fromkeys(SUMMARY, 1)
        entry.run.write_summary({"config": to_dict(entry.trial.config), **figures})
        return entry.run.summary.read_bytes(), entry.run.config_file.read_bytes()


VALUES = ['"x"', "true", "[]", "{}", "-1", "2", "1e999", "NaN", "-Infinity", "null", "9" * 400]
WHOLE = ["", "[" * 100_000, '{"a":' * 100_000, "[]", "null", " " * 2_000_000, "\xff", "{}"]


@row(32, "summary.json and config.yaml of a trial, by others", cases=2000, few=60, confined=True)
def foreign_trials(seed: int) -> Iterator[Case]:
    for value in VALUES:
        summary = json.loads(_trial()[0]) | {"val_accuracy": "HERE"}
        text = json.dumps(summary).replace('"HERE"', value)
        yield f"val_accuracy {value[:20]}", partial(_is_not_finished, "summary.json", text)
    for name, text in itertools.product(("summary.json", "config.yaml"), WHOLE):
        yield f"{name} {text[:10]!r}", partial(_is_not_finished, name, text)
    for name in ("summary.json", "config.yaml"):
        yield f"{name}: a pipe", partial(_is_not_finished, name, None)
        yield f"{name}: endless", partial(_is_not_finished, name, Path("/dev/zero"))
    yield from mutations(seed, _is_read_or_refused)


def _folder(path: Path) -> Path:
    """Make the folder of a sweep whose first trial has finished, and return that trial's."""
    trial = path / "runs" / "trial-1"
    trial.mkdir(parents=True)
    for name, content in zip(("summary.json", "config.yaml"), _trial(), strict=True):
        (trial / name).write_bytes(content)
    return trial


def _outcomes(path: Path) -> list[bool]:
    sweep = plan.load(write_sweep(path, 1))
    entries = trials.entries(sweep, path / "runs")
    trials.write_csv(path / "sweep.csv", sweep, entries)
    trials.table(sweep, trials.ranking(entries))
    return [entry.outcome is not None for entry in entries]


def _is_not_finished(name: str, content: str | Path | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trial = _folder(Path(folder))
        assert _outcomes(Path(folder)) == [True, False]
        (trial / name).unlink()
        if content is None:
            os.mkfifo(trial / name)
        elif isinstance(content, Path):
            (trial / name).symlink_to(content)
        else:
            (trial / name).write_text(content, encoding="latin-1")
        assert _outcomes(Path(folder)) == [False, False]


def _is_read_or_refused(seed: str) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        file = _folder(Path(folder)) / rng.choice(("summary.json", "config.yaml"))
        raw = file.read_bytes()
        file.write_bytes(mutated(rng, raw, range(len(raw))))
        assert _outcomes(Path(folder))[1] is False


GROUPS = {
    "proc/self/cgroup": b"3:cpu,cpuacct:/a/b\n2:memory:/\n1:name=systemd:/a/b\n0::/a/b\n",
    "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": b"150000\n",
    "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": b"100000\n",
    "sys/fs/cgroup/unified/a/b/cpu.max": b"250000 100000\n",
    "sys/fs/cgroup/a/cpu.max": b"max 100000\n",
}


@row(33, "control groups whose files make no sense", cases=2000, few=100)
def foreign_limits(seed: int) -> Iterator[Case]:
    yield from mutations(seed, _is_a_number_of_cores)


def _is_a_number_of_cores(seed: str) -> None:
    rng = random.Random(seed)
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        for name, raw in GROUPS.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(mutated(rng, raw, range(len(raw))) if rng.random() < 0.6 else raw)
        number, why = environment.usable_cores(Path(folder))
    assert 1 <= number <= cores
    assert why
