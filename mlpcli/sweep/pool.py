"""Trials on processes of this machine.

Each worker is connected with this process by a pair of sockets that have no address, so nobody else
can connect to either. Closing its end, or the end of this process, tells a worker to save and end.
Imports no NumPy.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Generator, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path

from mlpcli.errors import InterruptedRunError, MlpcliError, in_one_line
from mlpcli.interrupts import SIGNALS, StopRequest
from mlpcli.sweep import worker
from mlpcli.sweep.trials import Entry, Outcome, interrupted

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
MAX_DEATHS = 4  # of workers, after which the trial that they trained has failed

# With `-c` Python searches the current folder first, even for `types`; `-P` keeps it from that. The
# worker imports from where this process does.
START = (
    "import sys; from multiprocessing.connection import Connection; "
    "connection = Connection(int(sys.argv[1])); sys.path, sys.argv = connection.recv(); "
    "from mlpcli.sweep import pool; pool.serve(connection)"
)
FLAGS = {"-I": "isolated", "-E": "ignore_environment", "-s": "no_user_site"}


def train(
    workers: int, entries: Sequence[Entry], stop: StopRequest
) -> Generator[Entry, None, None]:
    """Train the trials, so many at a time, and yield each, with its outcome, as it comes.

    A trial whose worker dies is given to another. Raises InterruptedRunError after a signal; what
    runs is then saved and stopped. Raises MlpcliError where no process can be started.
    """
    log.debug("workers: %s processes on this machine", workers)
    waiting, deaths = deque(entries), Counter[Path]()
    busy: list[_Worker] = []
    idle: list[_Worker] = []
    try:
        while waiting or busy:
            if (number := stop.asked()) is not None:
                raise interrupted(number, len(waiting) + len(busy))
            while waiting and len(busy) < workers:
                try:
                    one = idle.pop() if idle else _Worker()
                except OSError as error:
                    if busy:
                        break
                    reason = in_one_line(error)
                    raise MlpcliError(f"no worker process can be started: {reason}") from None
                one.give(waiting.popleft())
                busy.append(one)
            ready = wait([one.connection for one in busy], POLL_SECONDS)
            for one in [one for one in busy if one.connection in ready]:
                busy.remove(one)
                entry, outcome = one.entry, one.outcome()
                assert entry is not None
                if outcome is not None:
                    idle.append(one)
                else:
                    one.end()
                    deaths[entry.run.folder] += 1
                    if deaths[entry.run.folder] < MAX_DEATHS:
                        waiting.appendleft(entry)
                        continue
                    outcome = Outcome(error=f"{MAX_DEATHS} workers died of it", exit_code=1)
                entry.outcome = outcome
                yield entry
    finally:
        left = [*busy, *idle]
        for one in left:
            one.connection.close()  # all at once
        for one in left:
            one.end()


class _Worker:
    """A process that trains one trial after another, and the one that it trains now."""

    def __init__(self) -> None:
        """Start it; raises OSError where the system does not allow that."""
        self.entry: Entry | None = None
        self.connection, there = Pipe()
        flags = [flag for flag, name in FLAGS.items() if getattr(sys.flags, name)]
        # A terminal sends Ctrl-C to every process, and some systems send other signals so; the
        # worker inherits this mask. It is this process that then tells the workers to stop.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            with there:
                self.process = subprocess.Popen(
                    [sys.executable, "-P", *flags, "-c", START, str(there.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[there.fileno()],
                )
        except OSError:
            self.connection.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._send((sys.path, sys.argv))

    def give(self, entry: Entry) -> None:
        self.entry = entry
        self._send((entry.run.folder.absolute(), entry.trial.config))

    def _send(self, message: object) -> None:
        with contextlib.suppress(OSError):  # it has died, which `outcome` will find
            self.connection.send(message)

    def outcome(self) -> Outcome | None:
        """Wait for what came of its trial; None if it died."""
        try:
            outcome: Outcome = self.connection.recv()
        except (EOFError, OSError):
            return None
        return outcome

    def end(self) -> None:
        """Wait until it has saved and ended."""
        self.connection.close()
        self.process.wait()


def serve(connection: Connection) -> None:
    """Train the trials that come, as a worker, until the connection is closed."""
    trials: queue.SimpleQueue[tuple[Path, object]] = queue.SimpleQueue()
    stop = StopRequest()

    def listen() -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                trials.put(connection.recv())
        stop.request(signal.SIGTERM)
        if not stop.can_save:
            os._exit(0)

    try:
        threading.Thread(target=listen, daemon=True).start()
    except RuntimeError as error:
        refused = Outcome(
            error=f"a worker's second thread: {error} (see ulimit -u and -v)", exit_code=1
        )
        with contextlib.suppress(EOFError, OSError):
            while True:
                connection.recv()
                connection.send(refused)
        return
    with contextlib.suppress(InterruptedRunError, BrokenPipeError, ConnectionResetError):
        while True:
            folder, config = trials.get()
            outcome = worker.train(folder, config, stop)  # type: ignore[arg-type]
            stop.can_save = False
            connection.send(outcome)
