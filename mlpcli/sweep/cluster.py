"""Trials on the workers that have joined a Dask scheduler."""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import ssl
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

from distributed import Client, Future, KilledWorker, Reschedule, Security, get_worker

from mlpcli.config.settings import Config
from mlpcli.errors import ConfigError, InterruptedRunError, MlpcliError, in_one_line
from mlpcli.interrupts import StopRequest
from mlpcli.sweep import worker
from mlpcli.sweep.trials import Entry, Outcome, interrupted

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5
POLL_SECONDS = 0.2


@contextlib.contextmanager
def remote(address: str, tls: dict[str, Path]) -> Iterator[Client]:
    """Join the scheduler at an address; raises MlpcliError where none answers.

    `tls` are files by Dask's own names: tls_ca_file, tls_client_cert, tls_client_key. Those that a
    `tls://` address needs and that are left out are what Dask's configuration says.
    """
    # Which of Dask's own lines are shown: with `-v` its warnings, else none.
    level = logging.WARNING if log.isEnabledFor(logging.DEBUG) else logging.CRITICAL
    for handler in logging.getLogger("distributed").handlers:
        handler.setLevel(level)
    security = _security(tls) if address.startswith("tls:") else None
    try:
        client = Client(address, security=security, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise MlpcliError(f"--scheduler {address}: {_refusal(address, error)}") from error
    with client:
        yield client


def _security(tls: dict[str, Path]) -> Security:
    """Return what a connection by TLS needs; raises ConfigError where that is not complete."""
    security = Security(require_encryption=True, **{key: str(path) for key, path in tls.items()})
    found = security.get_tls_config_for_role("client")
    if not (found["ca_file"] and found["cert"]):
        raise ConfigError("--scheduler: tls:// needs --tls-ca-file, --tls-cert and --tls-key")
    try:
        security.get_connection_args("client")
    except OSError as error:  # those of ssl are such
        raise ConfigError(
            f"--tls-ca-file, --tls-cert, --tls-key: found {in_one_line(error)}, expected PEM files "
            f"of an authority, of a certificate, and of its key"
        ) from None
    return security


def _refusal(address: str, error: BaseException | None) -> str:
    """Return why a scheduler was not joined, and what there should be."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            reason = in_one_line(error)
            return f"TLS fails: {reason}; expected a scheduler with certificates of one authority"
        error = error.__cause__ or error.__context__
    return (
        f"no Dask scheduler answers there; start one with `dask scheduler`, and on each machine "
        f"`dask worker {address} --nthreads 1`"
    )


def train(
    client: Client,
    entries: Sequence[Entry],
    stop: StopRequest,
    warn: Callable[[str], None],
) -> Generator[Entry, None, None]:
    """Train the trials, and yield each, with its outcome, as it comes.

    Raises InterruptedRunError after a signal; what runs is then saved and stopped.
    """
    if not client.nthreads():
        warn("no worker has joined the scheduler yet; waiting for one")
    finished: queue.SimpleQueue[Future[Outcome]] = queue.SimpleQueue()
    waiting: dict[Future[Outcome], Entry] = {}
    again: set[Path] = set()  # given a second time

    def submit(some: Sequence[Entry]) -> None:
        folders = [str(entry.run.folder.absolute()) for entry in some]
        configs = [entry.trial.config for entry in some]
        futures = client.map(_train, folders, configs, pure=False)
        waiting.update(zip(futures, some, strict=True))
        for future in futures:
            future.add_done_callback(finished.put)

    try:
        submit(entries)
        while waiting:
            if (number := stop.asked()) is not None:
                raise interrupted(number, len(waiting))
            try:
                future = finished.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            entry = waiting.pop(future)
            if entry.run.folder not in again and _is_blamed_for_another(future, entry):
                again.add(entry.run.folder)
                submit([entry])
                continue
            entry.outcome = _outcome(future)
            yield entry
    finally:
        client.cancel(list(waiting))


def _is_blamed_for_another(future: Future[Outcome], entry: Entry) -> bool:
    """Whether workers died while the trial was only waiting for one: it has no lock yet."""
    died = future.status == "error" and isinstance(future.exception(), KilledWorker)
    return died and not (entry.run.folder / "lock").exists()


def _outcome(future: Future[Outcome]) -> Outcome:
    if future.status == "cancelled":
        return Outcome(error="the scheduler is gone", exit_code=1)
    if future.status != "error":
        return future.result()
    error = future.exception()
    if isinstance(error, KilledWorker):
        return Outcome(error=f"{error.allowed_failures + 1} workers died of it", exit_code=1)
    return Outcome(error=f"{type(error).__name__}: {error}", exit_code=1)


# What follows runs on a worker.


def _train(folder: str, config: Config) -> Outcome:
    try:
        return worker.train(Path(folder), config, _Cancellation())
    except InterruptedRunError:
        raise Reschedule from None  # nobody waits for it here; if anybody does, then elsewhere


class _Cancellation(StopRequest):
    """Asks to stop once the scheduler cancels the task: the sweep is interrupted, or gone."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks, self.key = get_worker().state.tasks, get_worker().get_current_task()

    def asked(self) -> int | None:
        task = self.tasks.get(self.key)
        return signal.SIGTERM if task is None or task.state == "cancelled" else super().asked()
