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
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mlpcli.errors import ConfigError, LockedError, MlpcliError, in_one_line

DATA_DIR = "MLPCLI_DATA_DIR"  # the environment variable
LOOK_SECONDS = 0.02  # far longer than `is_locked` has a lock


def packaged(name: str) -> Path:
    """Return a folder of files that come with mlpcli, such as `configs`.

    Installed it is part of the package, as data; in a checkout it stands beside it.
    """
    package = Path(__file__).parent
    inner, beside = package / name, package.parent / name
    return beside if beside.is_dir() and not inner.is_dir() else inner


def data_dir(chosen: str | Path | None) -> Path:
    """Return `chosen`, else $MLPCLI_DATA_DIR, else mlpcli's folder in the user's cache.

    Raises ConfigError where it begins with the `~` of a user who does not exist.
    """
    if chosen is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
        chosen = os.environ.get(DATA_DIR) or cache / "mlpcli"
    return expanded(chosen)


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
def writing(path: Path | str) -> Iterator[None]:
    """Raise MlpcliError, naming the path and the reason, for an OSError raised within."""
    try:
        yield
    except OSError as failure:
        raise MlpcliError(f"{path}: cannot be written: {reason(failure)}") from None


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file to read it; raises OSError for a pipe or a device, which may not end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


@contextlib.contextmanager
def replacing(path: Path, keep_as: Path | None = None) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` at the end, and only if nothing was raised.

    After a crash at any moment the old file or the new one stands; where `keep_as` is given, what
    stood at `path` is found there afterwards. Raises MlpcliError where the disk or its permissions
    do not allow it, and where a device, a pipe or a folder stands; what is there is kept.
    """
    with writing(path):
        if path.exists() and not path.is_file():  # root could replace /dev/null
            raise OSError(errno.EINVAL, "not a regular file", str(path))
    with writing(path), _temporary(path) as temporary:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep_as is not None and path.exists():
            _name_too(path, keep_as)
        temporary.replace(path)
        sync_folder(path.parent)


def _name_too(path: Path, other: Path) -> None:
    """Let `other` stand for what `path` is now; neither is missing at any moment."""
    with _temporary(other) as temporary:
        try:
            temporary.hardlink_to(path)
        except OSError:  # not every file system has hard links
            shutil.copyfile(path, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(other)


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file beside `path`, which is removed if still there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_stale(folder: Path) -> None:
    """Remove the temporary files that a killed process left; this one must hold the folder."""
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            path.unlink()


def sync_folder(folder: Path) -> None:
    """Have the folder's names on disk, as fsync has a file's contents."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process, by its file `lock`.

    Raises LockedError, naming the holder, if another process has it.
    """
    path = folder / "lock"
    with writing(path):
        file = path.open("a+")
    with file:  # closing the file, or the end of the process, gives the lock back
        if not _take(file):
            time.sleep(LOOK_SECONDS)  # for an `is_locked` that may be looking right now
            if not _take(file):
                raise LockedError(f"{folder}: in use by process {_holder(file)}")
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
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
            return bool(file.read(1)) and not _take(file, fcntl.LOCK_SH)
    except OSError:
        return False


def _holder(file: IO[str]) -> str:
    """Return what the holder of a lock has written; it may be just about to."""
    for _ in range(50):
        file.seek(0)
        if holder := file.read(20).strip():
            return holder
        time.sleep(0.01)
    return "unknown"
