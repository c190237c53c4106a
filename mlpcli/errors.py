"""The exceptions of this package, each with its exit code.

A message is one line: what was found, what was expected, and where. A hint, if there is one, is a
second line: what to do. Only `cli/main.py` prints them.
"""

from __future__ import annotations

import re

# A password may hold a slash or an @, so all up to the last @ is hidden.
_USER = re.compile(r"([A-Za-z][\w+.-]*:/{1,2})(?:[^\s/]*:(?:\S*|[^/\n]*)|[^\s/]*)@")
_QUERY = re.compile(r"([A-Za-z][\w+.-]*:/{1,2}[^\s?#]*[?#])\S+?(?=[:;,)'\"]*(?:\s|$))")


class MlpcliError(Exception):
    """A local failure (disk, permission): exit code 1."""

    exit_code = 1

    def __init__(self, message: str, hint: str | tuple[str, ...] | None = None) -> None:
        """`hint` is a command, or the options with which the same command is to be called again."""
        super().__init__(message)
        self.hint = hint


class ConfigError(MlpcliError):
    """An invalid configuration or command line: exit code 2."""

    exit_code = 2


class CheckFailedError(MlpcliError):
    """A gradient is wrong, or an accuracy is below the required floor: exit code 3."""

    exit_code = 3


class DataError(MlpcliError):
    """The data set is missing, corrupt or unavailable: exit code 4."""

    exit_code = 4


class CheckpointError(MlpcliError):
    """A checkpoint or a run cannot be used: exit code 5."""

    exit_code = 5


class DivergedError(MlpcliError):
    """The loss or a parameter is no longer finite: exit code 6."""

    exit_code = 6


class LockedError(MlpcliError):
    """Another process holds the lock: exit code 7."""

    exit_code = 7


class InconclusiveError(MlpcliError):
    """A gradient can be neither confirmed nor refuted: exit code 8."""

    exit_code = 8


class FailedTrialsError(MlpcliError):
    """Trials of a sweep failed: the exit code of the first of them."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class InterruptedRunError(MlpcliError):
    """A signal ended the run, after its state was saved: exit code 128 + signal number."""

    def __init__(self, signal_number: int, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.exit_code = 128 + signal_number


def in_one_line(error: Exception) -> str:
    """Return the first line of an error's message, or its class name if that is empty.

    Of a system call's error that is the file, if known, and the reason.
    """
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def printable(text: str) -> str:
    """Return a text as it may be shown: no secrets, line ends or control characters.

    Text from a file or a host must not steer a terminal.
    """
    escaped = (c if c.isprintable() else repr(c)[1:-1] for c in text)
    return without_secrets("".join(escaped))


def without_secrets(text: str) -> str:
    """Replace users, passwords and queries in the addresses of a text by `***`."""
    return _QUERY.sub(r"\1***", _USER.sub(r"\1***@", text))
