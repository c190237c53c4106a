"""Files that are written whole or not at all, and folders that one process writes to."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from mlpcli.errors import ConfigError, LockedError, MlpcliError, in_one_line

DATA_DIR = "MLPCLI_DATA_DIR"  # the environment variable
LOOK_SECONDS = 0.02  # far longer than `is_locked` has a lock
PATIENCE = 0.5  # seconds in which the holder of a lock should have written its number
MAX_HOLDER = 300  # bytes: a number, and the name of a host
ACL = "system.posix_acl_access"  # the extended attribute with who else may read and write a file
# What a file system answers that does not offer a call: NFS without its lock daemon, Lustre, CIFS.
NOT_OFFERED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)


def packaged(name: str) -> Path:
    """Return a folder of files that come with mlpcli, such as `configs`.

    Installed it is part of the package, as data; in a checkout it stands beside it.
    """
    package = Path(__file__).parent
    inner, beside = package / name, package.parent / name
    return beside if beside.is_dir() and not inner.is_dir() else inner


def data_dir(chosen: str | Path | None) -> Path:
    """Return `chosen`, else $MLPCLI_DATA_DIR, else mlpcli's folder in the user's cache.

    Raises ConfigError where it begins with the `~` of a user who does not exist, and where there
    is neither a cache of the user nor a place for one.
    """
    chosen = os.environ.get(DATA_DIR) or None if chosen is None else chosen
    return _cache() if chosen is None else expanded(chosen)


def _cache() -> Path:
    elsewhere = f"name a folder for data by --data-dir or ${DATA_DIR}"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    try:
        folder = cache.expanduser() / "mlpcli"
    except RuntimeError:  # no HOME, and a user without an entry in /etc/passwd
        raise ConfigError(f"{cache}: found no home folder; {elsewhere}") from None
    nearest = next(p for p in (folder, *folder.parents, Path("/")) if os.access(p, os.F_OK))
    if nearest != folder and not os.access(nearest, os.W_OK):
        raise ConfigError(f"{folder}: cannot be made in {nearest}; {elsewhere}")
    return folder


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with its `~` resolved, also where no shell has done it.

    Raises ConfigError where there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{path}: {error}") from None


def reason(error: Exception) -> str:
    """Return what the system says of an error, as in "No such file or directory"."""
    return getattr(error, "strerror", None) or in_one_line(error)


@contextlib.contextmanager
def reading(path: Path | str, error: type[MlpcliError], kind: str = "file") -> Iterator[None]:
    """Raise `error`, naming the path and the reason, for an OSError raised within."""
    try:
        yield
    except FileNotFoundError:
        raise error(f"{path}: no such {kind}") from None
    except OSError as failure:
        raise error(f"{path}: cannot be read: {reason(failure)}") from None


@contextlib.contextmanager
def writing(path: Path | str, what: str = "written") -> Iterator[None]:
    """Raise MlpcliError, naming the path and the reason, for an OSError raised within."""
    try:
        yield
    except OSError as failure:
        raise MlpcliError(f"{path}: cannot be {what}: {reason(failure)}") from None


def open_regular(path: Path | str, folder: int | None = None) -> io.BufferedReader:
    """Open a regular file to read it, by its path or by its name in an open folder.

    Raises OSError for a pipe or a device, which may not end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def open_own(path: Path) -> io.FileIO:
    """Open a file to read and write it, made if there is none.

    Raises OSError for a symbolic link, and for whatever is not a regular file. Who writes into one
    of several names, `st_nlink`, writes into what another may have linked to here.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        raise _is_link(path) if error.errno == errno.ELOOP else error from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return io.FileIO(descriptor, "r+")


def _is_link(path: Path) -> OSError:
    return OSError(errno.ELOOP, f"{path.name} is a symbolic link, which is not followed")


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Open a folder: what is then done in it is done there, whatever its path comes to mean."""
    if folder.is_symlink():
        raise _is_link(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing(path: Path, keep_as: Path | None = None) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` at the end, and only if nothing was raised.

    After a crash at any moment the old file or the new one stands. The new one has the group and
    the permissions of the old one; where `keep_as` is given, the old one is found by that name in
    the same folder afterwards. Raises MlpcliError where the disk or its permissions do not allow
    it, and where a link, a device, a pipe or a folder stands; what is there is kept.
    """
    with writing(path), _opened(path.parent) as folder:
        old = _regular(folder, path)
        with _temporary(folder) as temporary:
            with _create(folder, temporary) as file:
                if old is not None:
                    _give_access(file.fileno(), path, old)
                yield file
                file.flush()
                sync(file.fileno())
            if keep_as is not None and old is not None:
                _name_too(folder, path.name, keep_as.name)
            os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            sync(folder)


def _regular(folder: int, path: Path) -> os.stat_result | None:
    """Return what is known of the regular file `path`, or None if there is nothing.

    Raises OSError where something else stands: root could replace /dev/null.
    """
    try:
        found = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):
        raise _is_link(path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return found


def _give_access(file: int, path: Path, old: os.stat_result) -> None:
    """Let those read and write a new file who may read and write the `old` one at `path`."""
    new, mode = os.fstat(file), stat.S_IMODE(old.st_mode)
    if new.st_uid != old.st_uid:
        with contextlib.suppress(PermissionError):  # only root may give files away
            os.fchown(file, old.st_uid, -1)
    if new.st_gid != old.st_gid:
        try:
            os.fchown(file, -1, old.st_gid)
        except PermissionError:
            if mode >> 3 & 7 != mode & 7:  # the group may do what others may not
                raise
    if new.st_mode != old.st_mode:
        os.fchmod(file, mode)
    try:
        acl = os.getxattr(path, ACL, follow_symlinks=False)
    except (OSError, AttributeError):  # there is none, or the system has no such lists
        return
    os.setxattr(file, ACL, acl)


def _name_too(folder: int, name: str, other: str) -> None:
    """Let `other` stand for what `name` is now; neither is missing at any moment."""
    with _temporary(folder) as temporary:
        try:
            os.link(name, temporary, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except OSError:  # not every file system has hard links
            with open_regular(name, folder) as file, _create(folder, temporary) as copy:
                shutil.copyfileobj(file, copy)
                copy.flush()
                os.fchmod(copy.fileno(), stat.S_IMODE(os.fstat(file.fileno()).st_mode))
                sync(copy.fileno())
        os.replace(temporary, other, src_dir_fd=folder, dst_dir_fd=folder)


@contextlib.contextmanager
def _temporary(folder: int) -> Iterator[str]:
    """Yield a name for a temporary file in a folder, which is removed if it is still there.

    Nobody can know it before, so nobody can have put anything there.
    """
    name = f".{os.urandom(8).hex()}.tmp"
    try:
        yield name
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)


def _create(folder: int, name: str) -> IO[bytes]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return os.fdopen(os.open(name, flags, 0o666, dir_fd=folder), "wb")


def remove_stale(folder: Path) -> None:
    """Remove the temporary files that a killed process left; this one must hold the folder.

    Raises MlpcliError where the folder is a link: what is in it would be another's.
    """
    with writing(folder), _opened(folder) as descriptor:
        for name in os.listdir(descriptor):  # noqa: PTH208 - of the folder that is open
            if name.startswith(".") and name.endswith(".tmp"):
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless it is there, and have their names on disk.

    Raises OSError where it cannot be made.
    """
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def followed(folder: Path) -> Path:
    """Return what a link that the user has named stands for, and any other path as it is."""
    return folder.resolve() if folder.is_symlink() else folder


def sync_folder(folder: Path) -> None:
    """Have the folder's names on disk, as fsync has a file's contents."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Have a file on disk, where its file system can promise that; not each can for a folder."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_OFFERED:
            raise


@contextlib.contextmanager
def locked(folder: Path, warn: Callable[[str], object]) -> Iterator[None]:
    """Hold a folder for this process, by its file `lock`.

    Raises LockedError, naming the holder, if another process has it. Where the file system has no
    locks, as some of a network have none, it does so only for a process of this machine that the
    file names, and else says by `warn` that another process might come.
    """
    path = folder / "lock"
    with writing(path):
        file = open_own(path)
    with file:  # closing the file, or the end of the process, gives the lock back
        with writing(path):
            if os.fstat(file.fileno()).st_nlink > 1:
                raise OSError(errno.EINVAL, "a file of several names; remove this one")
            try:
                taken = _take(file)
                if not taken:
                    time.sleep(LOOK_SECONDS)  # for an `is_locked` that may be looking right now
                    taken = _take(file)
            except OSError as error:
                if error.errno not in NOT_OFFERED:
                    raise
                if taken := not _is_alive(_holder(file)):
                    warn(f"{folder}: no locks on this file system: let no other process write here")
        if not taken:
            raise LockedError(f"{folder}: in use by process {_holder(file, PATIENCE)}")
        with contextlib.suppress(OSError):  # on a full disk: nobody will know who has the lock
            file.truncate(0)
            file.seek(0)
            file.write(f"{os.getpid()} on {os.uname().nodename}\n".encode())
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                file.truncate(0)


def _take(file: IO[Any], kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(folder: Path) -> bool:
    """Whether a process holds a folder by `locked`; nothing is written, and no holder disturbed."""
    try:
        with open_regular(folder / "lock") as file:
            # Who gives a lock back empties the file; a killed process leaves its number there.
            holder = _holder(file)
            try:
                return bool(holder) and not _take(file, fcntl.LOCK_SH)
            except OSError as error:
                return error.errno in NOT_OFFERED and _is_alive(holder)
    except OSError:
        return False


def _holder(file: IO[bytes], patience: float = 0.0) -> str:
    """Return what the holder of a lock has written; it may be just about to."""
    end = time.monotonic() + patience
    while True:
        file.seek(0)
        holder = file.read(MAX_HOLDER).decode(errors="replace").strip()
        if holder or time.monotonic() > end:
            return holder
        time.sleep(0.01)


def _is_alive(holder: str) -> bool:
    """Whether a holder, as in "123 on host", is a process of this machine, and not this one."""
    number, _, host = holder.partition(" on ")
    if host != os.uname().nodename or not number.isdecimal() or int(number) == os.getpid():
        return False
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
