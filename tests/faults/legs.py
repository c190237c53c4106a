"""Trainings in legs: ended by a batch system's signals, and resumed; files of a run from others."""

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
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from conftest import ROOT

from faults.files import ODD_FILES
from faults.rows import Case, row
from faults.runs import PIPES, own
from faults.shell import (
    MLPCLI,
    call,
    errors,
    lasting_folder,
    new_folder,
    once,
    require_same,
    resume,
    train,
)
from mlpcli.interrupts import SIGNALS
from mlpcli.runs import checkpoint
from mlpcli.runs.folder import Run
from mlpcli.runs.reading import HEADER

EPOCHS = "training.epochs=700"


@once
def undisturbed() -> Path:
    """A run that nobody disturbs."""
    path = lasting_folder()
    done = call(train("momentum", EPOCHS, "model.hidden=[8]"), path)
    assert done.returncode == 0, done.stderr
    return path / "runs" / "momentum-1"


@row(26, "signals of batch systems, terminals and limits", cases=40, few=3)
def batch_signals(seed: int) -> Iterator[Case]:
    yield "the job script of docs/runs.md, queued until it is done", _job_script
    yield "a limit on processor time, signalled each second", _limit
    yield "nohup", _nohup
    for i in itertools.count():
        number = SIGNALS[i % len(SIGNALS)]
        yield f"{number.name}, case {i}", partial(_leave_and_resume, number, own(seed, i))


def _leave_and_resume(number: signal.Signals, rng: random.Random) -> None:
    """Every signal that asks to go saves first, and the run comes to the same bits."""
    with new_folder() as path:
        command, run = train("momentum", EPOCHS, "model.hidden=[8]"), path / "runs/momentum-1"
        with subprocess.Popen(command, cwd=path, text=True, **PIPES) as process:
            process.stderr.readline()
            time.sleep(rng.uniform(0, 0.3))
            process.send_signal(number)
            _, stderr = process.communicate(timeout=60)
        assert process.returncode == 128 + number, (process.returncode, stderr)
        (step,) = re.findall(rf"error: {number.name}: saved after step (\d+)\n", stderr)
        assert checkpoint.load(Run(run).last).step == int(step)
        assert call(resume(run), path).returncode == 0
        require_same(run, undisturbed())


def _job_script() -> None:
    (script,) = re.findall(r"```bash\n(.*?)```", (ROOT / "docs/runs.md").read_text(), re.DOTALL)
    words = train("momentum", EPOCHS, "model.hidden=[8]")[len(MLPCLI) + 1 :]
    script = script.replace("-- note --runs", f"-- {shlex.join(words)} --runs")
    script = script.replace("note-1", "momentum-1")
    with new_folder() as path:
        (path / "job").write_text(script)
        for name, line in {
            "mlpcli": f'exec {shlex.join(MLPCLI)} "$@"',
            "scontrol": 'echo "$@" >> queue',
        }.items():
            (path / name).write_text(f"#!/bin/sh\n{line}\n")
            (path / name).chmod(0o755)
        variables = {"PATH": f"{path}{os.pathsep}{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
        job = {"cwd": path, "env": os.environ | variables, "stderr": subprocess.PIPE}
        for _ in range(2):
            with subprocess.Popen(["bash", "job"], text=True, **job) as process:
                process.stderr.readline()  # an epoch
                process.send_signal(signal.SIGUSR1)
                assert "SIGUSR1: saved after step" in process.communicate(timeout=60)[1]
            assert process.returncode == 138
        assert (path / "queue").read_text() == "requeue 7\n" * 2
        done = call(["bash", "job"], path, env=job["env"])
        assert done.returncode == 0, done.stderr
        assert (path / "queue").read_text() == "requeue 7\n" * 2
        require_same(path / "jobs" / "momentum-1", undisturbed())


def _limit() -> None:
    with new_folder() as path:
        line = f"ulimit -S -t 4; exec {shlex.join(train('momentum', 'training.epochs=200000'))}"
        done = call(["bash", "-c", line], path)
        assert done.returncode == 128 + signal.SIGXCPU, done.stderr
        assert "SIGXCPU: saved after step" in done.stderr


def _nohup() -> None:
    with new_folder() as path:
        command = ["nohup", *train("momentum", EPOCHS, "model.hidden=[8]")]
        with subprocess.Popen(command, cwd=path, text=True, **PIPES) as process:
            process.stderr.readline()
            process.stderr.readline()
            process.send_signal(signal.SIGHUP)
            _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
        require_same(path / "runs" / "momentum-1", undisturbed())


@once
def two_epochs() -> Path:
    """A run of two epochs."""
    path = lasting_folder()
    done = call(train("momentum", "training.epochs=2", "model.hidden=[4]"), path)
    assert done.returncode == 0, done.stderr
    return path / "runs" / "momentum-1"


HUGE = 10**400
METADATA = {"val_accuracy": 7.0, "val_loss": -1.0, "epoch": HUGE, "step": HUGE}
PROGRESS = {
    "seconds": 0.0,
    "epoch_seconds": 1e308,
    "images": HUGE,
    "correct": HUGE,
    "best_epoch": HUGE,
    "best_val_accuracy": 7.0,
    "best_val_loss": None,
    "loss_sum": -1e308,
}


def in_metadata(name: str, value: object, metadata: dict[str, object]) -> None:
    metadata[name] = value


def in_progress(name: str, value: object, metadata: dict[str, object]) -> None:
    if metadata["resume_values"]:
        metadata["resume_values"]["progress"][name] = value


def without_validation(metadata: dict[str, object]) -> None:
    metadata["config"]["data"]["val_size"] = 0


def deep(metadata: dict[str, object]) -> None:
    metadata["environment"] = {"numpy": json.loads("[" * 300 + "]" * 300)}


HOSTILE: dict[str, Callable[[dict[str, object]], None]] = {
    **{f"{name} {v:.9}" if isinstance(v, float) else name: partial(in_metadata, name, v)
       for name, v in METADATA.items()},
    **{f"progress {name}": partial(in_progress, name, v) for name, v in PROGRESS.items()},
    "val_size 0": without_validation,
    "an environment of 300 levels": deep,
}  # fmt: skip
LARGE = {"weights of 3e38": 3e38, "weights of ±3e38": -3e38}
USES = (["train", "--resume", "RUN"], ["eval", "RUN"], ["report", "RUN"])


@row(27, "signed checkpoints of impossible numbers", cases=48, few=5)
def signed_numbers(seed: int) -> Iterator[Case]:
    for name, change in HOSTILE.items():
        for use in USES:
            yield f"{name}: {use[0]}", partial(_signed, change, None, use)
    for name, second in LARGE.items():
        for use in USES:
            yield f"{name}: {use[0]}", partial(_signed, lambda _: None, second, use)


def _signed(
    change: Callable[[dict[str, object]], None], weights: float | None, use: list[str]
) -> None:
    """Each is refused with exit 5, or does not matter to this use; none is a bug."""
    with new_folder() as path:
        run = Run(shutil.copytree(two_epochs(), path / "run"))
        for file in (run.last, run.best):
            with np.load(file) as saved:
                arrays = dict(saved)
            metadata = json.loads(str(arrays["metadata"]))
            change(metadata)
            arrays["metadata"] = np.array(json.dumps(metadata))
            if weights is not None:
                for array in (arrays[name] for name in ("W1", "b1", "W2", "b2")):
                    array[...] = np.resize([3e38, weights], array.shape)
            del arrays["digest"]
            np.savez(file, **arrays, digest=np.array(checkpoint._digest(arrays)))
        done = call([*MLPCLI, *(word.replace("RUN", str(run.folder)) for word in use)], path)
        assert done.returncode in (0, 5), done.stderr
        assert "a bug in mlpcli" not in done.stderr
        assert "Warning" not in done.stderr
        assert len(errors(done.stderr)) == (done.returncode == 5), done.stderr


def text_of(name: str, content: str) -> Callable[[Path], object]:
    return lambda run: (run / name).write_text(content)


def odd(name: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    def change(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        make(run / name)

    return change


RECORDS = ("summary.json", "environment.json", "metrics.csv", "note.txt", "config.yaml")
TEXTS = {
    "deep": '{"a": ' + "[" * 100_000,
    "a number of 401 digits": f'{{"epochs": {HUGE}, "time": {HUGE}, "legs": {HUGE}}}',
    "legs of other types": '{"time": 1, "host": 1, "command": 1, "git_commit": 1, "legs": [1]}',
    "16 MiB of empty rows": HEADER.decode() + "1,,,,,,,\n" * (2**24 // 9),
    "1e308": HEADER.decode() + "1,1e308,0.5,1e308,0.5,1e308,1e308,1\n",
    "17 MiB": HEADER.decode() + "# mine\n" * (17 * 2**20 // 7),
    "a formula": "=cmd|' /C calc'!A0\n",
}


@row(28, "files of a run that others have written", cases=220, few=5)
def files_of_others(seed: int) -> Iterator[Case]:
    uses = (*USES, ["runs", "RUN", "--csv"])
    changes = {f"{name}, {kind}": text_of(name, text) for name in RECORDS
               for kind, text in TEXTS.items()}  # fmt: skip
    changes |= {f"{name}, {kind}": odd(name, make) for name in RECORDS
                for kind, make in ODD_FILES.items() if kind != "a file of a TiB"}  # fmt: skip
    cases = [(f"{name}: {use[0]}", change, use) for name, change in changes.items() for use in uses]
    for name, change, use in random.Random(seed).sample(cases, len(cases)):
        yield name, partial(_of_others, change, use)


def is_small(file: Path) -> bool:
    return file.is_file() and file.stat().st_size < 2**26


def _of_others(change: Callable[[Path], object], use: list[str]) -> None:
    """What is not understood is refused, left out, or kept under another name: never lost."""
    with new_folder() as path:
        run = Path(shutil.copytree(two_epochs(), path / "run"))
        change(run)
        records = [run / name for name in ("metrics.csv", "environment.json")]
        before = {file: file.read_bytes() for file in records if is_small(file)}
        done = call([*MLPCLI, *(word.replace("RUN", str(run)) for word in use)], path)
        assert done.returncode in (0, 1, 2, 5), done.stderr
        assert "a bug in mlpcli" not in done.stderr
        assert len(errors(done.stderr)) == (done.returncode != 0), done.stderr
        if use[0] == "runs":
            assert not re.search(r"(^|,)=", done.stdout, re.MULTILINE)
        for file, content in before.items():
            same = [each for each in run.glob(f"{file.name}*") if is_small(each)]
            understood = file.name == "environment.json" and b'"from_epoch"' in content
            assert understood or content in [each.read_bytes() for each in same], file


@row(29, "metrics.csv followed, killed, and written to by others", cases=30, few=2)
def followed(seed: int) -> Iterator[Case]:
    for i in itertools.count():
        yield f"case {i}", partial(_follow, own(seed, i))


def _follow(rng: random.Random) -> None:
    """Who follows the file sees each row once; half a row and a comment are dealt with."""
    with new_folder() as path:
        run = Run(path / "runs" / "momentum-1")
        command = train("momentum", EPOCHS, "model.hidden=[8]", "training.checkpoint_seconds=0.1")
        with subprocess.Popen(command, cwd=path, text=True, **PIPES) as process:
            process.stderr.readline()
            with run.metrics.open() as follower:
                time.sleep(rng.uniform(0.1, 0.4))
                process.kill()
                process.wait()
                seen = follower.read()
        assert seen == run.metrics.read_text()
        content = run.metrics.read_bytes()
        saved = checkpoint.load(run.last).epoch
        assert content.count(b"\n") > saved
        mine = b"# mine\n" if rng.random() < 0.5 else b""
        if content.count(b"\n") - 1 > saved:  # half of a row that belongs to no checkpoint
            content = content[: len(content) - rng.randint(0, 60)]
        run.metrics.write_bytes(content + mine)
        done = call(resume(run.folder), path)
        assert done.returncode == 0, done.stderr
        require_same(run.folder, undisturbed())
        kept = run.folder / "metrics.csv.old"
        assert (kept.exists() and kept.read_bytes().endswith(mine)) == bool(mine)
