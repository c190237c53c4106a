"""Folders that others may write to, and file systems that offer less than a local disk does."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from conftest import CONFIGS, ROOT

from faults.rows import Case, SkippedRowError, row
from faults.shell import (
    SETS,
    call,
    errors,
    lasting_folder,
    new_folder,
    once,
    one_thread,
    require_same,
    resume,
    shapes,
    train,
)

EPOCHS = ("training.epochs=2", "model.hidden=[16]")
SECRET = "somebody else's\n"


@once
def stopped() -> Path:
    """A run that has one of its two epochs to go, made once."""
    folder = lasting_folder()
    shapes().chmod(0o755)  # other users will read them
    done = call(train("note", "training.epochs=1", "model.hidden=[16]"), folder)
    assert done.returncode == 0, done.stderr
    config = folder / "runs" / "note-1" / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 1\n", "epochs: 2\n"))
    return folder / "runs" / "note-1"


@once
def resumed() -> Path:
    """The same, resumed in a folder that nobody has touched."""
    run = lasting_folder() / "run"
    shutil.copytree(stopped(), run)
    assert call(resume(run), run.parent).returncode == 0
    return run


# Row 37: what stands in a run's folder in the place of its files.

FILES = (
    "lock",
    "config.yaml",
    "metrics.csv",
    "summary.json",
    "environment.json",
    "checkpoints/last.npz",
    "checkpoints/previous.npz",
    "checkpoints/best.npz",
)
IN_PLACE: dict[str, Callable[[Path, Path], object]] = {
    "a link": lambda path, other: path.symlink_to(other),
    "a dangling link": lambda path, other: path.symlink_to(other.with_name("nothing")),
    "a hard link": lambda path, other: path.hardlink_to(other),
    "a pipe": lambda path, other: os.mkfifo(path),
    "a folder": lambda path, other: path.mkdir(),
    "a link to a device": lambda path, other: path.symlink_to("/dev/full"),
}


def _in_place(name: str, kind: str) -> None:
    """Resume a run in whose folder another file stands; that one stays what it is."""
    with new_folder() as path:
        run, other = path / "run", path / "other"
        shutil.copytree(stopped(), run)
        if kind == "a hard link" and name.startswith("checkpoints"):
            kind = "a link"  # a file of several names is what a save makes of previous.npz
        content = SECRET
        file = run / name
        if file.exists() and kind == "a link":
            content = file.read_bytes().decode("latin-1")  # read, it serves as well as its own
        file.unlink(missing_ok=True)
        other.write_bytes(content.encode("latin-1"))
        before = other.stat()
        IN_PLACE[kind](file, other)
        done = call(resume(run), path)
        after = other.stat()
        assert other.read_bytes() == content.encode("latin-1"), "another's file was written to"
        assert (before.st_ino, before.st_mode) == (after.st_ino, after.st_mode)
        assert sorted(each.name for each in path.iterdir()) == ["other", "run"]
        assert "a bug in mlpcli" not in done.stderr, done.stderr
        if done.returncode:
            assert len(errors(done.stderr)) == 1, done.stderr


def _linked_folder() -> None:
    """A link in the place of `checkpoints` leads nowhere: nothing is removed or written there."""
    with new_folder() as path:
        run, other = path / "run", path / "other"
        shutil.copytree(stopped(), run)
        (run / "checkpoints").rename(other)
        (other / ".x.tmp").touch()
        before = {each.name: each.read_bytes() for each in other.iterdir()}
        (run / "checkpoints").symlink_to(other)
        done = call(resume(run), path)
        assert done.returncode == 1, done.stderr
        assert "checkpoints is a symbolic link" in errors(done.stderr)[0]
        assert {each.name: each.read_bytes() for each in other.iterdir()} == before


def _named_link() -> None:
    """A link that the user names is the folder that it leads to."""
    with new_folder() as path:
        shutil.copytree(stopped(), path / "run")
        (path / "latest").symlink_to("run")
        assert call(resume(path / "latest"), path).returncode == 0
        require_same(path / "run", resumed())


def _modes() -> None:
    """Files that only their owner may read stay so, through saves and resumptions."""
    with new_folder() as path:
        run = path / "run"
        shutil.copytree(stopped(), run)
        files = [each for each in run.rglob("*") if each.is_file() and each.name != "summary.json"]
        for each in files:
            each.chmod(0o600)
        assert call(resume(run), path).returncode == 0
        assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}


@row(37, "links, pipes, devices and hard links in a run's folder", cases=51, few=12)
def other_files(seed: int) -> Iterator[Case]:
    yield "checkpoints is a link", _linked_folder
    yield "the run's folder is named by a link", _named_link
    yield "mode 600", _modes
    for kind in IN_PLACE:
        for name in FILES:
            yield f"{name} is {kind}", functools.partial(_in_place, name, kind)


# Row 38: file systems without locks, fsync of folders, hard links.

NOT_OFFERED = {
    "flock": ("ENOLCK", "ENOSYS", "EOPNOTSUPP"),
    "fsync": ("EINVAL", "ENOSYS", "EOPNOTSUPP"),
    "linkat": ("EPERM", "ENOSYS", "EOPNOTSUPP", "EMLINK"),
    "getxattr": ("EOPNOTSUPP",),
    "lgetxattr": ("EOPNOTSUPP", "EIO"),
}


def _without(name: str, answer: str) -> None:
    """A call that the file system does not offer costs a warning at most."""
    with new_folder() as path:
        run = path / "run"
        shutil.copytree(stopped(), run)
        strace = ["strace", "-f", "-o", str(path / "calls.log"), "-e", f"trace={name}"]
        command = [*strace, "-e", f"inject={name}:error={answer}", *resume(run)]
        done = call(command, path, env=one_thread())
        assert done.returncode == 0, done.stderr
        warned = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
        assert len(warned) == (name == "flock"), done.stderr
        assert all("no locks on this file system" in line for line in warned)
        require_same(run, resumed())


@row(38, "file systems without locks, hard links or fsync", cases=13, few=4)
def offers_less(seed: int) -> Iterator[Case]:
    if not shutil.which("strace"):
        raise SkippedRowError("strace is not installed")
    for name, answers in NOT_OFFERED.items():
        for answer in answers:
            yield f"{name} answers {answer}", functools.partial(_without, name, answer)


# Row 39: a file system that is full, with what stands on it.


def _full(kibibytes: int) -> None:
    """Train where there is no room; the error names a file, and what was there is kept."""
    with new_folder() as path:
        disk = path / "disk"
        disk.mkdir()
        options = f"size={kibibytes}k,mode=700"
        mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            raise SkippedRowError("this user cannot mount a tmpfs")
        try:
            (disk / "note.txt").write_text(SECRET)
            command = [*train("note", *EPOCHS), "--runs-dir", str(disk / "runs")]
            done = call(command, path)
            assert (disk / "note.txt").read_text() == SECRET
            if done.returncode:
                assert done.returncode == 1, done.stderr
                (line,) = errors(done.stderr)
                assert "No space left on device" in line
                assert str(disk) in line, line
            assert not list(disk.rglob("*.tmp"))
        finally:
            subprocess.run(["umount", str(disk)], check=True)


def _can_mount() -> bool:
    with new_folder() as path:
        command = ["mount", "-t", "tmpfs", "tmpfs", str(path)]
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        return mounted and subprocess.run(["umount", str(path)], check=False).returncode == 0


@row(39, "a full disk before, at and after the first save", cases=10, few=3)
def full_disks(seed: int) -> Iterator[Case]:
    if not _can_mount():
        raise SkippedRowError("this user cannot mount a tmpfs")
    for kibibytes in (4, 8, 12, 20, 32, 64, 400, 800, 1200, 4000):
        yield f"{kibibytes} KiB", functools.partial(_full, kibibytes)


# Row 40: users who are not the one whose files these are.

OTHER = 23456  # a user without an entry in /etc/passwd


def _as_other(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(path for path in sys.path if path.endswith("-packages"))
    environment = {**os.environ, "HOME": str(cwd), "PYTHONPATH": f"{ROOT}{os.pathsep}{paths}"}
    return call(list(command), cwd, user=OTHER, group=OTHER, extra_groups=[], env=environment)


@functools.cache
def _others_mlpcli() -> list[str]:
    """Return mlpcli as another user may call it: this Python may lie in a home that is closed."""
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            if _as_other(python, "-c", "import mlpcli.cli.main, numpy", cwd=ROOT).returncode == 0:
                return [python, "-B", "-m", "mlpcli"]
    raise SkippedRowError("no other user may run this Python")


def _another_users_run(mode: int) -> None:
    """A run of another user is resumed where its modes allow it, else refused in one line."""
    with new_folder() as path:
        path.chmod(0o755)
        run = path / "run"
        shutil.copytree(stopped(), run)
        for each in (run, *run.rglob("*")):
            each.chmod(mode | 0o111 if each.is_dir() else mode)
        before = {each: each.read_bytes() for each in run.rglob("*") if each.is_file()}
        done = _as_other(*_others_mlpcli(), "train", "--resume", str(run), cwd=path)
        if mode & 0o002:
            assert done.returncode == 0, done.stderr
            require_same(run, resumed())
        else:
            assert done.returncode in (1, 2, 5), done.stderr
            assert len(errors(done.stderr)) == 1, done.stderr
            assert "Permission denied" in done.stderr
            assert {each: each.read_bytes() for each in before} == before


def _planted() -> None:
    """Where another user may write, nothing that it can plant leads to the victim's files."""
    with new_folder() as path:
        path.chmod(0o777)
        victim = path / "victim"
        victim.write_text(SECRET)
        victim.chmod(0o600)
        shared = path / "shared"
        shared.mkdir()
        shared.chmod(0o777)
        plant = f"umask 0; mkdir -p {shared}/runs; cd {shared}/runs; mkdir note-1 && cd note-1 &&"
        plant += " mkdir checkpoints && ln -s ../../../victim lock"
        assert _as_other("sh", "-c", plant, cwd=shared).returncode == 0
        shutil.copyfile(stopped() / "config.yaml", shared / "runs" / "note-1" / "config.yaml")
        done = call(resume(shared / "runs" / "note-1"), path)
        assert done.returncode == 1, done.stderr
        assert "lock is a symbolic link" in errors(done.stderr)[0]
        assert victim.read_text() == SECRET


def _config_of_other() -> None:
    """A configuration that may not be read is refused by its name."""
    with new_folder() as path:
        path.chmod(0o755)
        (path / "x.yaml").write_bytes((CONFIGS / "note.yaml").read_bytes())
        (path / "x.yaml").chmod(0o600)
        done = _as_other(*_others_mlpcli(), "train", "x.yaml", *SETS, cwd=path)
        assert done.returncode == 2
        assert errors(done.stderr) == ["error: x.yaml: cannot be read: Permission denied"]


@row(40, "files of another user", cases=6, few=2)
def other_users(seed: int) -> Iterator[Case]:
    if os.geteuid():
        raise SkippedRowError("only root can become another user")
    _others_mlpcli()
    yield "a lock that another user has planted", _planted
    for mode in (0o666, 0o644, 0o600, 0o000):
        yield f"a run of mode {mode:o}", functools.partial(_another_users_run, mode)
    yield "a configuration of mode 600", _config_of_other
