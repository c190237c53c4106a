"""Trains in a run's folder: from the first step, or resumed from a checkpoint."""

from __future__ import annotations

import contextlib
import logging
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from mlpcli import environment
from mlpcli.config.loading import differences, to_dict
from mlpcli.config.settings import UNLEARNED, Config, DataConfig
from mlpcli.data.dataset import Dataset, load_train_val
from mlpcli.environment import BITS_DEPEND_ON
from mlpcli.errors import CheckpointError, DivergedError, InterruptedRunError, MlpcliError
from mlpcli.files import locked, remove_stale
from mlpcli.interrupts import StopRequest
from mlpcli.runs import checkpoint
from mlpcli.runs import folder as runs
from mlpcli.runs.checkpoint import Checkpoint
from mlpcli.runs.folder import Metrics, Run
from mlpcli.runs.provenance import started
from mlpcli.runs.reading import METRICS
from mlpcli.training.trainer import EpochResult, Progress, Training

log = logging.getLogger(__name__)

# The keys that may differ when a run is resumed: longer training, and what changes no result. The
# threads are compared as part of the environment.
MAY_CHANGE = UNLEARNED | {"training.epochs", "training.patience"}


class Reporter(Protocol):
    """Shows a training as it goes."""

    def status(self, text: str) -> None: ...
    def start(self, training: Training) -> None: ...
    def step(self, progress: Progress) -> None: ...
    def epoch(self, result: EpochResult) -> None: ...
    def warn(self, text: str) -> None: ...


def start(
    config: Config, runs_dir: Path, reporter: Reporter, stop: StopRequest, note: str | None = None
) -> dict[str, Any]:
    """Train in a new run's folder, which keeps the `note`, and return its summary.

    Raises DataError, DivergedError, and InterruptedRunError after a signal, with the state saved.
    """
    training = _prepared(config, load_train_val, reporter)
    run = runs.create(runs_dir, config.name)
    with locked(run.folder):
        return _run(training, run, reporter, stop, note)


def resume(
    run: Run,
    last: Path,
    config: Config,
    reporter: Reporter,
    stop: StopRequest,
    *,
    strict: bool,
    note: str | None = None,
    read: Callable[[DataConfig], Dataset] = load_train_val,
) -> dict[str, Any]:
    """Resume a run from its checkpoint `last`, as if it had never stopped; return its summary.

    Its note is kept unless there is a new `note`.
    A process that trains one run after another may `read` the data once for all of them.
    Raises CheckpointError where the configuration or the data are not those of the run, and if
    `strict` where the environment is not, and LockedError while another process trains it.
    """
    with locked(run.folder):
        remove_stale(run.folder)
        remove_stale(run.checkpoints)
        saved = _load(run, last)
        if saved is None:
            log.debug("%s: nothing was saved yet, starting at the first step", run.folder)
        else:
            log.debug("%s: resuming at epoch %s, step %s", last, saved.epoch, f"{saved.step:,}")
            _require_same_config(saved, config, last)
            _compare_environments(saved, last, reporter, strict)
        training = _prepared(config, read, reporter)
        if saved is not None:
            was, now = saved.data_digest, training.dataset.digest
            if was != now:
                raise CheckpointError(
                    f"{last}: was trained on other images: SHA-256 {was[:12]}…, now {now[:12]}…"
                )
            try:
                training.restore(saved.resume_arrays, saved.resume_values)
            except CheckpointError as error:
                raise CheckpointError(f"{last}: cannot be resumed: {error}") from None
            if last.resolve() != run.last.resolve():
                last.replace(run.last)  # the user chose it, the last being corrupt
        return _run(training, run, reporter, stop, note)


def _prepared(
    config: Config, read: Callable[[DataConfig], Dataset], reporter: Reporter
) -> Training:
    """Read the images and return the training on them, saying what takes time."""
    reporter.status("reading CIFAR-10" if config.data.name == "cifar10" else "generating shapes")
    dataset = read(config.data)
    if config.features.name == "pca":
        reporter.status(f"fitting {config.features.components} principal components")
    return Training(config, dataset)


def _load(run: Run, last: Path) -> Checkpoint | None:
    """Return the checkpoint; None where the run ended before or in its first save."""
    saved_once = run.last.exists() or run.previous.exists()
    if not saved_once and len(run.metrics_rows(2)) < 2:
        return None
    saved = checkpoint.load(last)
    if saved.epoch and not run.best.exists():
        raise CheckpointError(f"{run.best}: missing")
    return saved


def _require_same_config(saved: Checkpoint, config: Config, last: Path) -> None:
    changed = differences(saved.config, config)
    refused = [
        f"{key} {was}, now it is {now}"
        for key, (was, now) in changed.items()
        if key not in MAY_CHANGE or (key == "training.epochs" and now < was)
    ]
    if refused:
        raise CheckpointError(f"{last}: was trained with {'; '.join(refused)}")


def _compare_environments(saved: Checkpoint, last: Path, reporter: Reporter, strict: bool) -> None:
    was, now = saved.environment, environment.describe()
    changed = [
        f"{name} {was.get(name)}, now {now[name]}"
        for name in BITS_DEPEND_ON
        if was.get(name) != now[name]
    ]
    message = f"{last}: was trained with {'; '.join(changed)}"
    if changed and strict:
        raise CheckpointError(message)
    if changed:
        reporter.warn(f"{message}: the last bits of the result may differ")


class _Saves:
    """Saves a training to its run's folder, and knows when it did so last."""

    def __init__(self, training: Training, run: Run, reporter: Reporter) -> None:
        self.training, self.run, self.reporter = training, run, reporter
        self.environment = environment.describe()
        for name, value in self.environment.items():
            log.debug("%s: %s", name, value)
        self.best: Checkpoint | None = None  # of the epochs since the last save
        self.saved_at = time.monotonic()
        run.write_config(training.config)
        digest = {"data_digest": training.dataset.digest}
        run.write_environment(self.environment | digest | started(run.environment))
        run.summary.unlink(missing_ok=True)  # only a finished run has one
        self.metrics = Metrics(run, training.progress.epoch)
        if self.metrics.rows < training.progress.epoch:
            reporter.warn(f"{run.metrics}: rows of earlier epochs are missing")

    @property
    def due(self) -> bool:
        """Whether it is time to save, by the clock or by the count of steps."""
        config, step = self.training.config.training, self.training.progress.step
        by_count = config.checkpoint_steps is not None and step % config.checkpoint_steps == 0
        return by_count or time.monotonic() - self.saved_at >= config.checkpoint_seconds

    def epoch(self, result: EpochResult) -> None:
        """Record an epoch's metrics; keep its network if it is the best; save if that is due."""
        with self._or_warn():
            row = {name: getattr(result, name.replace("/", "_")) for name in METRICS}
            self.metrics.append(row)
        finished = self.training.finished
        to_save = finished or self.due or not self.run.last.exists()
        if not (result.is_best or to_save):
            return
        last = self.checkpoint()
        if result.is_best:
            self.best = _without_state(last)
        if finished:
            self.save(last)
        elif to_save:
            self.try_to_save(last)

    def try_to_save(self, last: Checkpoint) -> None:
        """Save, or warn: the next save may succeed, and the files saved before are still valid."""
        with self._or_warn():
            self.save(last)

    def save(self, last: Checkpoint) -> None:
        """Save all; raises MlpcliError where the disk or its permissions do not allow it."""
        self.saved_at = time.monotonic()
        self.metrics.save()
        # The best first: a last.npz then never refers to a best epoch that was not saved.
        self.save_best()
        checkpoint.save(self.run.last, last, keep_as=self.run.previous)
        seconds = time.monotonic() - self.saved_at
        log.debug("saved: %s, step %s, in %.2f s", self.run.last, f"{last.step:,}", seconds)

    def save_best(self) -> None:
        if self.best is not None:
            checkpoint.save(self.run.best, self.best)
            self.best = None

    @contextlib.contextmanager
    def _or_warn(self) -> Iterator[None]:
        try:
            yield
        except MlpcliError as error:
            self.reporter.warn(f"{error}; training continues")

    def checkpoint(self) -> Checkpoint:
        """Return what `last.npz` holds; its arrays are the training's own, to be saved at once.

        Raises DivergedError where they are not finite.
        """
        training, progress = self.training, self.training.progress
        arrays, values = training.state()
        return Checkpoint(
            config=training.config,
            label_names=training.dataset.label_names,
            data_digest=training.dataset.digest,
            environment=self.environment,
            epoch=progress.epoch,
            step=progress.step,
            val_accuracy=progress.best_val_accuracy,
            val_loss=progress.best_val_loss,
            resume_values=values,
            named_params=training.pixel_params(),
            resume_arrays=arrays,
        )


def _run(
    training: Training, run: Run, reporter: Reporter, stop: StopRequest, note: str | None
) -> dict[str, Any]:
    """Train to the end, and write the files of the run's folder."""
    run.checkpoints.mkdir(exist_ok=True)
    if note is not None:
        run.write_note(note)
    saves = _Saves(training, run, reporter)

    def on_step(progress: Progress) -> None:
        reporter.step(progress)
        if (number := stop.asked()) is not None:
            saves.save(saves.checkpoint())
            raise InterruptedRunError(
                number,
                f"{signal.Signals(number).name}: saved after step {progress.step}",
                hint=f"mlpcli train --resume {shlex.quote(str(run.folder))}",
            )
        if saves.due:
            saves.try_to_save(saves.checkpoint())

    reporter.start(training)
    stop.can_save = True
    try:
        for result in training.epochs(on_step):
            saves.epoch(result)
            try:
                reporter.epoch(result)
            except BaseException:  # what a caller's own code raises loses nothing
                saves.try_to_save(saves.checkpoint())
                raise
    except DivergedError as error:
        saves.save_best()
        last = run.last if run.last.exists() else "none, it was not yet saved"
        smaller = training.config.optimizer.learning_rate / 10
        retry = ["mlpcli", "train", str(run.folder), f"optimizer.learning_rate={smaller:g}"]
        message = f"{error}; last good checkpoint: {last}"
        raise DivergedError(message, hint=shlex.join(retry)) from None
    summary = _summary(training, run)
    run.write_summary(summary)
    return summary


def _without_state(saved: Checkpoint) -> Checkpoint:
    """Return what `best.npz` holds, with arrays of its own."""
    named_params = {name: array.copy() for name, array in saved.named_params.items()}
    return replace(saved, named_params=named_params, resume_arrays={}, resume_values={})


def _summary(training: Training, run: Run) -> dict[str, Any]:
    """Return what `summary.json` holds: losses and accuracy are those of the best epoch."""
    progress = training.progress
    return {
        "run_dir": str(run.folder),
        "config": to_dict(training.config),
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "val_accuracy": progress.best_val_accuracy,
        "val_loss": progress.best_val_loss,
        "train_loss": progress.best_train_loss,
        "seconds": round(progress.seconds, 3),
        "images_per_second": round(progress.images / progress.seconds, 1),
        "checkpoint": str(run.best),
    }
