"""What can go wrong, each kind with the exit code that a shell sees.

A message is one line that says what, where, and what was expected; a hint, where there is one,
is a second line that says what to do. `cli.py` is the one place that prints them.
"""


class MlpcliError(Exception):
    """A failure on this machine (disk, permission): exit code 1."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(MlpcliError):
    """A wrong configuration or use of the command line."""

    exit_code = 2


class CheckFailedError(MlpcliError):
    """A gradient is wrong, or an accuracy lies below the floor that was asked for."""

    exit_code = 3


class DataError(MlpcliError):
    """The data set is missing, corrupt or not to be had."""

    exit_code = 4


class CheckpointError(MlpcliError):
    """A checkpoint or a run cannot be used."""

    exit_code = 5


class DivergedError(MlpcliError):
    """The loss or a parameter is no longer finite."""

    exit_code = 6


class LockedError(MlpcliError):
    """Another process is writing there."""

    exit_code = 7


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
    """Return the first line of what an error says, or its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def printable(text: str) -> str:
    """Escape line ends and control characters: text from a file must not steer a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
