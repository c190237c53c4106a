"""What a worker does, wherever it runs: train a trial in its run's folder.

A trial is resumed from what is in that folder, as by `mlpcli train --resume`, so one whose worker
was killed is simply given to another. Imports NumPy once the number of threads is set.
"""

from __future__ import annotations

import functools
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlpcli import environment
from mlpcli.config.settings import Config, DataConfig
from mlpcli.errors import InterruptedRunError, LockedError, MlpcliError, in_one_line
from mlpcli.interrupts import StopRequest
from mlpcli.runs.folder import Run
from mlpcli.sweep.trials import Outcome

LOCK_SECONDS = 30  # that a trial waits for the worker that had it, and is not quite gone


def train(folder: Path, config: Config, stop: StopRequest) -> Outcome:
    """Train a trial to its end, from wherever its run's folder says it is.

    Raises InterruptedRunError, with the state saved, once it is asked to stop.
    """
    environment.set_threads(config.threads)
    reporter = _Reporter()
    try:
        outcome = Outcome(_resume(Run(folder), config, reporter, stop))
    except InterruptedRunError:
        raise
    except MlpcliError as error:
        outcome = Outcome(error=str(error), exit_code=error.exit_code)
    except MemoryError:
        outcome = Outcome(error="out of memory", exit_code=1)
    except OSError as error:
        outcome = Outcome(error=in_one_line(error), exit_code=1)
    except Exception as error:
        outcome = Outcome(error=f"{type(error).__name__}: {in_one_line(error)}", exit_code=1)
    return replace(outcome, warnings=tuple(reporter.warnings))


def _resume(run: Run, config: Config, reporter: _Reporter, stop: StopRequest) -> dict[str, Any]:
    from mlpcli.runs import runner

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
            return runner.resume(run, run.last, config, reporter, stop, strict=False, read=_read)
        except LockedError:
            if time.monotonic() > end or stop.asked() is not None:
                raise
            time.sleep(1)


class _Reporter:
    """Keeps the warnings of a trial."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def status(self, text: str) -> None: ...

    def start(self, training: Any) -> None: ...

    def step(self, progress: Any) -> None: ...

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
