"""A save, call by call of the system: watched, killed and made to fail with strace."""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from faults import saver
from faults.rows import Case, SkippedRowError, row
from faults.shell import call, errors, new_folder, one_thread, require_same, resume, train
from mlpcli.files import remove_stale
from mlpcli.runs import checkpoint
from mlpcli.runs.folder import Run

WATCHED = (
    "openat,read,write,lseek,fstat,newfstatat,ftruncate,fsync,rename,renameat,renameat2,"
    "link,linkat,unlink,unlinkat,close,ioctl,fcntl"
)
FAILING = ("openat", "write", "fsync", "renameat", "linkat", "close")
FAULTS = ("ENOSPC", "EIO", "EACCES")


@dataclass(frozen=True)
class SystemCall:
    """A call within a save: the how manieth of its name in the process, and its text."""

    ordinal: int
    save: int
    text: str

    @property
    def name(self) -> str:
        return self.text.partition("(")[0]

    def __str__(self) -> str:
        return f"{self.name} {self.ordinal}, save {self.save}: {self.text[:70]}"


def watched(run: Run, *inject: str) -> tuple[subprocess.CompletedProcess[str], list[SystemCall]]:
    """Save under strace; return how it ended and the calls that the saves were made of."""
    log = run.folder / "calls.log"
    watch = ["strace", "-o", str(log), "-e", f"trace={WATCHED}", *inject]
    done = call(
        [*watch, sys.executable, saver.__file__, str(run.folder)],
        run.folder,
        env=one_thread(),
    )
    calls, save, counts = [], 0, Counter[str]()
    for text in log.read_text().splitlines():
        counts[text.partition("(")[0]] += 1
        if match := re.search(rf'"{saver.MARK}(begins|ends)-(\d)"', text):
            save = int(match[2]) if match[1] == "begins" else 0
        elif save and not text.startswith("+++"):  # strace's own word on how it ended
            calls.append(SystemCall(counts[text.partition("(")[0]], save, text))
    return done, calls


def saved_calls() -> list[SystemCall]:
    """Return the calls of three saves that go well."""
    if not shutil.which("strace"):
        raise SkippedRowError("strace is not installed")
    with new_folder() as path:
        done, calls = watched(new_run(path))
    assert done.stdout.split("\n")[:-1] == [f"saved {n}" for n in range(1, saver.SAVES + 1)]
    return calls


def new_run(path: Path) -> Run:
    run = Run(path)
    run.checkpoints.mkdir()
    return run


def require_whole(run: Run, save: int, said: str) -> None:
    """Each file is what some save wrote; the last is that of save `save` or of the one before."""
    if run.last.exists():
        last = checkpoint.load(run.last)
        assert saver.is_small(last)
        assert last.step in (save - 1, save)
    else:
        assert save == 1, "no last checkpoint"
    assert f"saved {save}" not in said
    if save > 2:
        previous = checkpoint.load(run.previous)
        assert saver.is_small(previous)
        assert previous.step in (save - 2, save - 1)


@row(1, "kill -9 at any system call of a save", cases=120, few=6, whole=True)
def kills(seed: int) -> Iterator[Case]:
    calls = saved_calls()
    for each in random.Random(seed).sample(calls, len(calls)):
        yield str(each), partial(_kill_at, each)


def _kill_at(each: SystemCall) -> None:
    with new_folder() as path:
        run = new_run(path)
        inject = f"inject={each.name}:signal=KILL:when={each.ordinal}"
        done, calls = watched(run, "-e", inject)
        assert done.returncode == -signal.SIGKILL
        assert (calls[-1].save, calls[-1].name) == (each.save, each.name)
        require_whole(run, each.save, done.stdout)
        remove_stale(run.checkpoints)
        assert {file.name for file in run.checkpoints.iterdir()} <= {"last.npz", "previous.npz"}


@row(2, "power loss", cases=saver.SAVES)
def order_of_calls(seed: int) -> Iterator[Case]:
    calls = saved_calls()
    for save in range(1, saver.SAVES + 1):
        yield f"save {save}", partial(_in_order, [each for each in calls if each.save == save])


def _in_order(calls: list[SystemCall]) -> None:
    """The new file is on disk before it has its name, and its name before the save is done."""
    expected = [
        r"openat\(.*/checkpoints\", O_RDONLY\|O_NOFOLLOW\|O_CLOEXEC\|O_DIRECTORY\) = 3",
        r"openat\(3, \"\.[0-9a-f]{16}\.tmp\", O_WRONLY\|O_CREAT\|O_EXCL\|O_CLOEXEC, 0666\) = 4",
        r"write\(4, ",
        r"fsync\(4\) += 0",
        r"renameat\(3, \"\.[0-9a-f]{16}\.tmp\", 3, \"last\.npz\"\) = 0",
        r"fsync\(3\) += 0",
    ]
    found = [
        next((i for i, each in enumerate(calls) if re.match(pattern, each.text)), -1)
        for pattern in expected
    ]
    assert -1 not in found, "a call is missing"
    assert found == sorted(found), "the calls are in another order"
    last_write = max(i for i, each in enumerate(calls) if each.name == "write")
    assert found[2] <= last_write < found[3], "something is written after fsync"


@row(3, "ENOSPC, EIO, EACCES", cases=100, few=8, whole=True)
def failures(seed: int) -> Iterator[Case]:
    for at in (1, 3, 8, 10, 12, 14, 20, 30):
        for span in (1, 4):
            yield f"training, fsync {at} to {at + span - 1}", partial(_fail_training, at, span)
    calls = [each for each in saved_calls() if each.name in FAILING]
    cases = [(each, fault) for each in calls for fault in FAULTS]
    for each, fault in random.Random(seed).sample(cases, len(cases)):
        yield f"{fault} from {each}", partial(_fail_at, each, fault)


def _fail_at(each: SystemCall, fault: str) -> None:
    with new_folder() as path:
        run = new_run(path)
        done, calls = watched(run, "-e", f"inject={each.name}:error={fault}:when={each.ordinal}")
        assert any("(INJECTED)" in found.text for found in calls), "nothing was made to fail"
        names = {file.name for file in run.checkpoints.iterdir()}
        assert names <= {"last.npz", "previous.npz"}, f"left behind: {names}"
        if done.returncode == 0:  # a way around it: a copy where there can be no link
            assert each.name in ("linkat", "close"), each
            require_whole(run, saver.SAVES, "")
            assert checkpoint.load(run.last).step == saver.SAVES
        else:
            assert done.returncode == 1
            assert len(errors(done.stderr)) == len(done.stderr.splitlines()) == 1, done.stderr
            require_whole(run, each.save, done.stdout)


def _fail_training(at: int, span: int) -> None:
    """A save that fails is a warning; training continues, and ends well if its last save does."""
    with new_folder() as path:
        steps = "training.checkpoint_steps=3", "training.epochs=12", "model.hidden=[16]"
        command = train("note", *steps)
        strace = ["strace", "-f", "-o", "calls.log", "-e", "trace=fsync"]
        inject = ["-e", f"inject=fsync:error=ENOSPC:when={at}..{at + span - 1}"]
        reference, run = path / "runs" / "note-1", path / "runs" / "note-2"
        assert call(command, path).returncode == 0
        done = call([*strace, *inject, *command], path, env=one_thread())
        if done.returncode == 0:
            assert "No space left on device; training continues" in done.stderr
            require_same(run, reference)
            return
        assert done.returncode == 1
        assert "No space left on device" in errors(done.stderr)[0]
        if (run / "config.yaml").exists():
            assert call(resume(run), path).returncode == 0
            require_same(run, reference)
