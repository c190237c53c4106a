"""Files: where the data set is looked for, and folders that one process holds."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlpcli.errors import ConfigError, LockedError, MlpcliError
from mlpcli.files import (
    ACL,
    data_dir,
    followed,
    is_locked,
    locked,
    make_folder,
    open_regular,
    remove_stale,
    replacing,
)


def test_where_the_data_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert data_dir(None) == Path("~/.cache/mlpcli").expanduser()
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert data_dir(None) == Path("/cache/mlpcli")
    monkeypatch.setenv("MLPCLI_DATA_DIR", "/data")
    assert data_dir(None) == Path("/data")
    assert data_dir("/chosen") == Path("/chosen")
    with pytest.raises(ConfigError, match="~nobody-here/x: "):
        data_dir("~nobody-here/x")


def test_whether_a_folder_is_locked_is_seen_without_disturbing_its_holder(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with locked(tmp_path, print):
        held = (tmp_path / "lock").read_bytes()
        assert is_locked(tmp_path)
        assert (tmp_path / "lock").read_bytes() == held
        with pytest.raises(LockedError, match=f"in use by process {held.decode().strip()}"):
            locked(tmp_path, print).__enter__()
    assert not is_locked(tmp_path)
    (tmp_path / "lock").write_bytes(held)  # as a killed process leaves it
    assert not is_locked(tmp_path)


def test_a_folder_can_be_locked_although_another_process_looks_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "lock").open("w") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        monkeypatch.setattr(time, "sleep", lambda _: fcntl.flock(look, fcntl.LOCK_UN))
        with locked(tmp_path, print):
            assert is_locked(tmp_path)


def replace(path: Path, content: bytes = b"new", keep_as: Path | None = None) -> None:
    with replacing(path, keep_as) as file:
        file.write(content)


def test_a_file_is_replaced_whole_and_the_old_one_kept_by_another_name(tmp_path: Path) -> None:
    path, kept = tmp_path / "a", tmp_path / "b"
    replace(path, b"1", keep_as=kept)
    assert [each.name for each in tmp_path.iterdir()] == ["a"], "there was none to keep"
    replace(path, b"2", keep_as=kept)
    assert (path.read_bytes(), kept.read_bytes()) == (b"2", b"1")
    replace(path, b"3")
    assert (path.read_bytes(), kept.read_bytes()) == (b"3", b"1")
    with pytest.raises(ZeroDivisionError), replacing(path, kept) as file:
        file.write(b"4")
        raise ZeroDivisionError
    assert (path.read_bytes(), kept.read_bytes()) == (b"3", b"1")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a", "b"]


def test_the_old_file_is_copied_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    path, kept = tmp_path / "a", tmp_path / "b"
    replace(path, b"1")
    path.chmod(0o640)
    replace(path, b"2", keep_as=kept)
    assert (path.read_bytes(), kept.read_bytes()) == (b"2", b"1")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640


@pytest.mark.parametrize("mode", [0o640, 0o600, 0o664, 0o444])
def test_who_may_read_a_file_may_read_the_one_in_its_place(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a"
    path.touch()
    path.chmod(mode)
    replace(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_a_file_keeps_its_owner_and_its_group(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    os.chown(path, 1234, 2345)
    replace(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)


def test_a_file_keeps_its_access_control_list(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    # Version 2, then tag, permissions and user of each entry: owner, user 1234, group, mask, others
    entries = [(1, 6, -1), (2, 4, 1234), (4, 4, -1), (16, 4, -1), (32, 0, -1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(path, ACL, acl)
    except OSError as error:
        pytest.skip(f"this file system has no access control lists: {error}")
    replace(path)
    assert os.getxattr(path, ACL) == acl


def test_a_new_file_is_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        replace(tmp_path / "a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize("kind", ["pipe", "folder", "link", "dangling link", "link to a pipe"])
def test_what_is_not_a_regular_file_is_never_replaced(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "a", tmp_path / "other"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(other)
    if kind == "link":
        other.write_bytes(b"another's")
    elif kind == "link to a pipe":
        os.mkfifo(other)
    before = path.lstat(), sorted(tmp_path.iterdir())
    what = "a is a symbolic link, which is not followed" if "link" in kind else "not a regular file"
    with pytest.raises(MlpcliError, match=f"a: cannot be written: {what}"):
        replace(path)
    assert (path.lstat(), sorted(tmp_path.iterdir())) == before
    assert kind != "link" or other.read_bytes() == b"another's"


def test_nothing_is_written_or_removed_through_a_link_to_a_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / ".a.tmp").touch()
    (tmp_path / "checkpoints").symlink_to("real")
    with pytest.raises(MlpcliError, match="a: cannot be written: checkpoints is a symbolic link"):
        replace(tmp_path / "checkpoints" / "a")
    with pytest.raises(MlpcliError, match="checkpoints: cannot be written: checkpoints is a "):
        remove_stale(tmp_path / "checkpoints")
    assert [path.name for path in (tmp_path / "real").iterdir()] == [".a.tmp"]
    remove_stale(tmp_path / "real")
    assert not list((tmp_path / "real").iterdir())


def test_a_folder_stays_the_one_that_was_opened(tmp_path: Path) -> None:
    """Who may rename it cannot lead a file that is being written elsewhere."""
    (tmp_path / "a").mkdir()
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "x").write_bytes(b"old")
    with replacing(tmp_path / "a" / "x") as file:
        file.write(b"new")
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "a").symlink_to("victim")
    assert (tmp_path / "b" / "x").read_bytes() == b"new"
    assert (tmp_path / "victim" / "x").read_bytes() == b"old"


def test_temporary_names_cannot_be_known_before(tmp_path: Path) -> None:
    names = []
    for _ in range(2):
        with replacing(tmp_path / "a"):
            names += [path.name for path in tmp_path.iterdir() if path.name != "a"]
    assert len(set(names)) == 2
    assert all(re.fullmatch(r"\.[0-9a-f]{16}\.tmp", name) for name in names)


def test_only_temporary_files_are_stale(tmp_path: Path) -> None:
    for name in (".a.tmp", ".a", "a.tmp", "a"):
        (tmp_path / name).touch()
    (tmp_path / ".b.tmp").mkdir()
    remove_stale(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a", ".b.tmp", "a", "a.tmp"]


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "pipe", "folder"])
def test_a_lock_that_is_another_file_is_refused_and_kept(tmp_path: Path, kind: str) -> None:
    folder, victim = tmp_path / "run", tmp_path / "victim"
    folder.mkdir()
    if kind != "dangling link":
        victim.write_bytes(b"another's")
    match kind:
        case "link" | "dangling link":
            (folder / "lock").symlink_to(victim)
        case "hard link":
            (folder / "lock").hardlink_to(victim)
        case "pipe":
            os.mkfifo(folder / "lock")
        case "folder":
            (folder / "lock").mkdir()
    what = {"hard link": "a file of several names", "pipe": "not a regular", "folder": "Is a dir"}
    expected = what.get(kind, "lock is a symbolic link")
    with pytest.raises(MlpcliError, match=f"run/lock: cannot be written: {expected}"):
        locked(folder, print).__enter__()
    assert not is_locked(folder)
    assert victim.exists() == (kind != "dangling link")
    assert not victim.exists() or victim.read_bytes() == b"another's"


@pytest.mark.parametrize("answer", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_a_warning_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(answer))
    warnings: list[str] = []
    with locked(tmp_path, warnings.append):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()} on {os.uname().nodename}\n"
    assert [f"{tmp_path}: no locks on this file system" in each for each in warnings] == [True]
    assert (tmp_path / "lock").read_text() == ""


def test_where_there_are_no_locks_a_live_holder_on_this_machine_still_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    host = os.uname().nodename
    with subprocess.Popen(["sleep", "60"]) as other:
        (tmp_path / "lock").write_text(f"{other.pid} on {host}\n")
        assert is_locked(tmp_path)
        with pytest.raises(LockedError, match=f"in use by process {other.pid} on {host}"):
            locked(tmp_path, print).__enter__()
        other.kill()
    for holder in (f"{other.pid} on {host}", f"1 on not-{host}", f"{10**30} on {host}", "x", ""):
        (tmp_path / "lock").write_text(holder)
        assert not is_locked(tmp_path)
        with locked(tmp_path, print):
            pass


def test_another_failure_of_a_lock_names_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(errno.EIO))
    with pytest.raises(MlpcliError, match="lock: cannot be written: Input/output error"):
        locked(tmp_path, print).__enter__()
    assert not is_locked(tmp_path)


@pytest.mark.parametrize("answer", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_files_are_written_where_fsync_is_not_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing(answer))
    replace(tmp_path / "a")
    make_folder(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_failed_fsync_is_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(MlpcliError, match="a: cannot be written: Input/output error"):
        replace(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_each_new_folder_is_on_disk_by_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (fsync(fd), on_disk.append(os.fstat(fd).st_ino)))
    make_folder(tmp_path / "a" / "b" / "c")
    parents = [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    assert on_disk == [path.stat().st_ino for path in parents]
    make_folder(tmp_path / "a" / "b")
    assert len(on_disk) == 3
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file" / "x")


def test_a_link_that_is_named_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("run")
    assert followed(tmp_path / "link") == tmp_path / "run"
    assert followed(Path("run")) == Path("run")


def test_only_a_regular_file_is_opened_to_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with open_regular(tmp_path / "a") as file:
        assert file.read() == b"x"
    os.mkfifo(tmp_path / "pipe")  # to open it would take until somebody writes to it
    for path in (tmp_path / "pipe", tmp_path, Path(os.devnull)):
        with pytest.raises(OSError, match="not a regular file"):
            open_regular(path)


def failing(number: int) -> Callable[..., None]:
    def call(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return call
