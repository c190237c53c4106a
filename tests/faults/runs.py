"""Training in real processes: killed, interrupted, doubled, diverging, elsewhere, unheard."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from conftest import SHIPPED, write_shapes

from faults.rows import Case, row
from faults.shell import (
    MLPCLI,
    call,
    errors,
    killed,
    lasting_folder,
    new_folder,
    once,
    require_same,
    resume,
    train,
)
from mlpcli.runs import checkpoint
from mlpcli.runs.folder import Run

RATE, WARM = "optimizer.learning_rate=", "schedule.warmup_epochs=25"
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
LEAVES_WITHIN = 2  # seconds from a signal to the end


def own(seed: int, i: int) -> random.Random:
    return random.Random(f"{seed}-{i}")


QUICK = ("fast", "best", "logistic", "logistic_squared")  # an epoch of them takes no millisecond


def killable(name: str, *sets: str) -> list[str]:
    """Return the command of a run whose epochs take half a second in all."""
    more = ("data.name=cifar10",) if name == "smoke" else ()
    epochs = 600 if name in QUICK else 30
    return train(name, f"training.epochs={epochs}", *more, *sets)


@once
def reference(name: str) -> Path:
    """A run that nobody disturbs, made once for each shipped configuration."""
    path = lasting_folder()
    done = call(killable(name), path)
    assert done.returncode == 0, done.stderr
    return path / "runs" / f"{name}-1"


@row(4, "kill -9 at random times, then train --resume", cases=200, few=2)
def random_kills(seed: int) -> Iterator[Case]:
    names = sorted(path.stem for path in SHIPPED)
    for i in itertools.count():
        name = names[i % len(names)]
        yield f"{name}, case {i}", partial(_kill_and_resume, name, own(seed, i))


def _kill_and_resume(name: str, rng: random.Random) -> None:
    """Kill a run once or twice, go on with it, and hold it against one that was never killed."""
    steps = 60 if name in QUICK else 3  # some time between two saves
    saving = rng.choice(
        [(), ("training.checkpoint_seconds=0.03",)]
        + [(f"training.checkpoint_steps={n}",) for n in (steps // 3, steps, 2 * steps + 1)]
    )
    training = json.loads((reference(name) / "summary.json").read_text())["seconds"]
    with new_folder() as path:
        run, command = path / "runs" / f"{name}-1", killable(name, *saving)
        for _ in range(rng.choice([1, 1, 2])):
            early = rng.random() < 0.25  # perhaps before there is anything to save
            seconds = rng.uniform(0, 1 if early else training)
            while not killed(command, path, seconds, from_first_line=not early):
                shutil.rmtree(path / "runs")  # it was quicker: once more, from the start
                command, seconds = killable(name, *saving), seconds / 2
            if (run / "config.yaml").exists():
                command = resume(run)
            else:
                shutil.rmtree(path / "runs", ignore_errors=True)
        done = call(command, path)
        assert done.returncode == 0, done.stderr
        require_same(run, reference(name))
        stale = [file.name for file in run.rglob(".*.tmp")]
        assert not stale, stale


@row(5, "SIGINT, SIGTERM", cases=60, few=6)
def signals(seed: int) -> Iterator[Case]:
    for i in itertools.count():
        number = (signal.SIGINT, signal.SIGTERM)[i % 2]
        yield f"{number.name}, case {i}", partial(_interrupt, number, i % 3 == 2, own(seed, i))


def _interrupt(number: signal.Signals, twice: bool, rng: random.Random) -> None:
    """Signal a training at a random time; where it was saved, it goes on to the same bits."""
    with new_folder() as path:
        command, run = train("momentum", "training.epochs=3000"), path / "runs" / "momentum-1"
        with subprocess.Popen(command, cwd=path, text=True, **PIPES) as process:
            time.sleep(0.15 + rng.uniform(0, 2))  # Python itself takes the first tenth
            sent = time.monotonic()
            process.send_signal(number)
            if twice:
                time.sleep(rng.uniform(0, 0.02))
                process.send_signal(number)
            _, stderr = process.communicate(timeout=60)
            took = time.monotonic() - sent
        assert took < LEAVES_WITHIN, f"took {took:.1f} s"
        assert "Traceback" not in stderr, stderr
        saved = re.search(rf"^error: {number.name}: saved after step (\d+)$", stderr, re.MULTILINE)
        # Before it has its handlers, the process ends by the signal itself: the same to a shell.
        codes = {128 + number} if saved else {128 + number, -number}
        assert process.returncode in codes, (process.returncode, stderr)
        if saved:
            assert f"mlpcli train --resume runs/{run.name}" in stderr
            assert checkpoint.load(run / "checkpoints/last.npz").step == int(saved[1])
        elif not twice:
            assert not list(run.rglob("*.npz")), "signalled while training, but not saved"
        for file in run.rglob("*.npz"):
            if not file.name.startswith("."):
                checkpoint.load(file)


@row(16, "two processes, one folder", cases=20, few=4)
def two_writers(seed: int) -> Iterator[Case]:
    for i in range(10):
        yield f"one run, round {i}", partial(_two_trainings, own(seed, i))
        yield f"one data folder, round {i}", partial(_two_downloads, own(seed, i))


def _two_trainings(rng: random.Random) -> None:
    with new_folder() as path:
        run = path / "runs" / "note-1"
        command = train("note", "training.epochs=3000")
        killed(command, path, rng.uniform(0, 0.3), from_first_line=True)
        _second_is_refused(resume(run), path, run / "lock")
        assert checkpoint.load(run / "checkpoints/last.npz").epoch > 0


def _two_downloads(rng: random.Random) -> None:
    with new_folder() as path:
        command = [*MLPCLI, "download", "--synthetic", "--data-dir", "data"]
        _second_is_refused(command, path, path / "data" / "lock")
        assert call(command, path).returncode == 0, "the lock did not die with its process"


def _second_is_refused(command: list[str], path: Path, lock: Path) -> None:
    """Start a command twice, the second as soon as the first has the lock; kill the first."""
    lock.unlink(missing_ok=True)
    with subprocess.Popen(command, cwd=path, **PIPES) as first:
        while not (lock.exists() and lock.read_text().strip()):
            time.sleep(0.001)
        first.send_signal(signal.SIGSTOP)  # it must not be done before the second has looked
        second = call(command, path)
        first.kill()
    assert second.returncode == 7, second
    assert errors(second.stderr) == second.stderr.splitlines()
    assert f"in use by process {first.pid}" in second.stderr


DIVERGING = {
    "at once": ("model.activation=relu",),
    "with the softmax": ("model.activation=relu", "loss=softmax_cross_entropy"),
    "without hidden layers": ("model.hidden=[]", "loss=softmax_cross_entropy", RATE + "1e39"),
    "with GELU": ("model.activation=gelu",),
    "with momentum": ("model.activation=relu", "optimizer.momentum=0.9"),
    "with AdamW": ("optimizer.name=adamw", "model.activation=relu"),
    "in two layers": ("model.hidden=[16,16]", "model.activation=relu"),
    "in float64": ("model.activation=relu", "training.dtype=float64", RATE + "1e200"),
    "late": ("model.activation=relu", RATE + "1e4", WARM),
    "late, on components": ("features.name=pca", "model.activation=relu", RATE + "1e3", WARM),
}


@row(17, "NaN or Inf in loss or weights", cases=10, few=3)
def divergence(seed: int) -> Iterator[Case]:
    for name, sets in reversed(DIVERGING.items()):
        yield name, partial(_diverge, sets)


def _diverge(sets: tuple[str, ...]) -> None:
    with new_folder() as path:
        each_step = "training.checkpoint_steps=1"
        done = call(train("note", RATE + "1e30", "training.epochs=30", each_step, *sets), path)
        assert done.returncode == 6, done.stderr
        (line,) = errors(done.stderr)
        assert re.search(r"diverged: .* at epoch \d+, step \d+, learning rate [\d.e+]+; ", line)
        run = Run(path / "runs" / "note-1")
        saved = [file for file in (run.last, run.previous, run.best) if file.exists()]
        for file in saved:
            checkpoint.load(file)  # which refuses what is not finite
        good = str(run.last.relative_to(path)) if run.last in saved else "not yet saved"
        assert line.endswith(good), line
        assert run.last in saved or WARM not in sets


@row(18, "resume with another config, data or environment", cases=12, few=4)
def resumed_elsewhere(seed: int) -> Iterator[Case]:
    yield "NumPy", partial(_other_environment, {"numpy": "1.0"})
    yield "NumPy, --strict", partial(_other_environment, {"numpy": "1.0"}, "--strict")
    yield "other images", partial(_refused, "other images", "--data-dir", "other")
    for key, value, was in [
        ("seed", 1, 0),
        ("optimizer.learning_rate", 0.2, 0.1),
        ("model.hidden", [8], (512,)),
        ("training.epochs", 2, 3),
    ]:
        yield key, partial(_refused, f"{key} {was}, now it is ", "--set", f"{key}={value}")
    yield "synthetic images", partial(_refused, "data.name cifar10", "--set", "data.name=synthetic")
    yield "BLAS, --strict", partial(_other_environment, {"blas": "other 1"}, "--strict")
    yield "processor", partial(_other_environment, {"processor": "\x1b[31mother"})
    yield "threads", partial(_other_environment, {}, "--set", "threads=2")
    yield "threads, --strict", partial(_other_environment, {}, "--set", "threads=2", "--strict")


def _three_epochs(path: Path) -> Run:
    done = call(train("note", "training.epochs=3"), path)
    assert done.returncode == 0, done.stderr
    return Run(path / "runs" / "note-1")


def _refused(message: str, *options: str) -> None:
    with new_folder() as path:
        run = _three_epochs(path)
        before = run.last.read_bytes(), run.config_file.read_text(), run.metrics.read_text()
        write_shapes(path / "other", batch_rows=50)
        done = call(resume(run.folder, *options), path)
        assert done.returncode == 5, done.stderr
        assert message in done.stderr
        assert errors(done.stderr) == done.stderr.splitlines()
        after = run.last.read_bytes(), run.config_file.read_text(), run.metrics.read_text()
        assert before == after


def _other_environment(changes: dict[str, str], *options: str) -> None:
    with new_folder() as path:
        run = _three_epochs(path)
        saved = checkpoint.load(run.last)
        other = replace(saved, environment=saved.environment | changes)
        checkpoint.save(run.last, other)
        done = call(resume(run.folder, "--set", "training.epochs=4", *options), path)
        (line,) = [line for line in done.stderr.splitlines() if "was trained with" in line]
        assert f"{next(iter(changes), 'threads')} " in line
        assert line.isprintable()
        if "--strict" in options:
            assert (done.returncode, line[:7]) == (5, "error: ")
        else:
            assert (done.returncode, line[:9]) == (0, "warning: ")
            assert checkpoint.load(run.last).epoch == 4


UNHEARD = {">&-": 0, "2>&-": 0, ">&- 2>&-": 0, ">/dev/full": 1, "2>/dev/full": 0, "2>&1 | true": 0}


@row(19, "closed or full standard output, read-only folder", cases=8, few=4)
def unheard(seed: int) -> Iterator[Case]:
    yield "read-only runs", _read_only_runs
    yield "a run made read-only", _read_only_run
    for redirection, code in UNHEARD.items():
        yield redirection, partial(_unheard, redirection, code)


def _unheard(redirection: str, code: int) -> None:
    """Training saves though nobody hears of it; only the result is missed, where it cannot go."""
    with new_folder() as path:
        line = f"{shlex.join(train('note', 'training.epochs=3'))} {redirection}"
        done = call(["sh", "-c", line], path)
        assert done.returncode == code, done
        assert "Exception ignored" not in done.stderr
        assert len(errors(done.stderr)) == code
        run = Run(path / "runs" / "note-1")
        assert checkpoint.load(run.last).epoch == 3
        assert json.loads((run.folder / "summary.json").read_text())["epochs"] == 3


def unprivileged(command: list[str]) -> list[str]:
    """Return the command without root's right to write where nobody may."""
    if os.geteuid() == 0:
        drop = "-dac_override,-dac_read_search"
        return ["setpriv", "--inh-caps", drop, "--bounding-set", drop, *command]
    return command


def _read_only_runs() -> None:
    with new_folder() as path:
        path.chmod(0o500)
        done = call(unprivileged(train("note")), path)
        path.chmod(0o700)
        assert done.returncode == 1, done
        assert "no run can be made there: Permission denied" in done.stderr
        assert errors(done.stderr) == done.stderr.splitlines()


def _read_only_run() -> None:
    """What was saved stands; the run is said not to be writable, and trains on when it is."""
    with new_folder() as path:
        run = _three_epochs(path)
        before = run.last.read_bytes()
        for each in (run.checkpoints, run.folder):
            each.chmod(0o500)
        command = resume(run.folder, "--set", "training.epochs=4")
        done = call(unprivileged(command), path)
        for each in (run.checkpoints, run.folder):
            each.chmod(0o700)
        assert done.returncode == 1, done
        assert "cannot be written: Permission denied" in done.stderr
        assert errors(done.stderr) == done.stderr.splitlines()
        assert run.last.read_bytes() == before
        assert call(command, path).returncode == 0
