"""Trials on many processes, by Dask: this machine's cores, or whatever a scheduler has joined.

Each trial goes on from what is in its run's folder, as `mlpcli train --resume` does. So one that a
killed worker leaves behind needs nothing but to be given to another.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, Reschedule, get_worker

from mlpcli import environment
from mlpcli.config.settings import Config, DataConfig
from mlpcli.errors import InterruptedRunError, LockedError, MlpcliError, in_one_line
from mlpcli.interrupts import StopRequest
from mlpcli.runs.folder import Run
from mlpcli.sweep.trials import Entry, Outcome

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5
LOCK_SECONDS = 30  # that a trial waits for the worker that had it, and is not quite gone
POLL_SECONDS = 0.2


@contextlib.contextmanager
def local(workers: int) -> Iterator[Client]:
    """Start worker processes on this machine; they end with this process, however that ends.

    They inherit the variables of every BLAS, so `environment.set_threads` comes first.
    """
    log.debug("workers: %s processes on this machine", workers)
    _without_user_config()
    with (
        dask.config.set({"distributed.worker.profile.enabled": False}),
        _start(workers) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _without_user_config() -> None:
    """Let nothing that the user has set for Dask's clusters count, here and in the workers."""
    for variable in [name for name in os.environ if name.startswith("DASK_")]:
        del os.environ[variable]
    dask.config.refresh(paths=[], env={})


def _start(workers: int) -> LocalCluster:
    """Start workers that Ctrl-C does not reach, now or when they are replaced.

    A terminal sends it to every process; it is this one that then tells the others to stop.
    """
    resource_tracker.ensure_running()  # where it is not, its start lets Ctrl-C through again
    # The threads that start processes, now and later, inherit this mask, and so do the processes.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            memory_limit=0,  # Dask would halt and kill what comes near to one
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # 8787 may be another's
            silence_logs=_level(),
        )
    except RuntimeError as error:
        raise MlpcliError(f"no worker processes can be started: {error}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def remote(address: str) -> Iterator[Client]:
    """Join the scheduler at an address; raises MlpcliError where none answers."""
    for handler in logging.getLogger("distributed").handlers:
        handler.setLevel(_level())
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise MlpcliError(
            f"--scheduler {address}: no Dask scheduler answers there; start one with "
            f"`dask scheduler`, and on each machine `dask worker {address} --nthreads 1`"
        ) from error
    with client:
        yield client


def train(
    client: Client,
    entries: Sequence[Entry],
    stop: StopRequest,
    warn: Callable[[str], None],
) -> Iterator[Entry]:
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
                left = f"{signal.Signals(number).name}: {len(waiting)} trials are left"
                raise InterruptedRunError(number, f"{left}; the same command resumes them")
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


def _level() -> int:
    """Return which of Dask's own lines are shown: with `-v` its warnings, else none."""
    return logging.WARNING if log.isEnabledFor(logging.DEBUG) else logging.CRITICAL


# What follows runs on a worker.


def _train(folder: str, config: Config) -> Outcome:
    """Train a trial to its end, from wherever its run's folder says it is."""
    environment.set_threads(config.threads)
    reporter = _Reporter()
    try:
        outcome = Outcome(_resume(Run(Path(folder)), config, reporter))
    except InterruptedRunError:
        raise Reschedule from None  # nobody waits for it here; if anybody does, then elsewhere
    except MlpcliError as error:
        outcome = Outcome(error=str(error), exit_code=error.exit_code)
    except OSError as error:
        outcome = Outcome(error=in_one_line(error), exit_code=1)
    return replace(outcome, warnings=tuple(reporter.warnings))


def _resume(run: Run, config: Config, reporter: _Reporter) -> dict[str, Any]:
    from mlpcli.runs import runner as experiment

    if not run.config_file.is_file():
        raise MlpcliError(
            f"{run.folder}: is not seen by the worker on {socket.gethostname()}: "
            f"workers need the same file system"
        )
    if (threads := environment.threads()) != config.threads:
        raise MlpcliError(
            f"the worker's NumPy has {threads} threads, the trial asks for {config.threads}: start "
            f"workers with {environment.THREAD_VARIABLES[0]}={config.threads}"
        )
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return experiment.resume(
                run, run.last, config, reporter, reporter.stop, strict=False, read=_read
            )
        except LockedError:
            if time.monotonic() > end:
                raise
            time.sleep(1)


class _Reporter:
    """Keeps the warnings of a trial, and stops it once nobody waits for it any more."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.stop = StopRequest()
        self.tasks, self.key = get_worker().state.tasks, get_worker().get_current_task()

    def status(self, text: str) -> None: ...

    def start(self, training: Any) -> None: ...

    def step(self, progress: Any) -> None:
        # The scheduler cancels a task when the sweep is interrupted, or its process is gone.
        task = self.tasks.get(self.key)
        if task is None or task.state == "cancelled":
            self.stop.request(signal.SIGTERM)

    def epoch(self, result: Any) -> None: ...

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def _read(config: DataConfig) -> Any:
    """Split the training images, which a worker reads for the first trial that needs them."""
    from mlpcli.data.dataset import hold_out

    with _reading:  # for trials in several threads of one worker
        images = _images(replace(config, val_size=0, val_seed=0))
    return hold_out(images, config.val_size, config.val_seed)


_reading = threading.Lock()


@functools.lru_cache(maxsize=1)
def _images(config: DataConfig) -> Any:
    from mlpcli.data.dataset import load_train

    return load_train(config)
