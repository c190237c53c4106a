"""Trains in a run's folder: from the first step, or resumed from a checkpoint."""

from __future__ import annotations

import contextlib
import logging
import math
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from mlpcli import environment
from mlpcli.config.loading import differences, to_dict
from mlpcli.config.settings import UNLEARNED, Config, DataConfig, TrainingConfig
from mlpcli.data.dataset import Dataset, load_train_val
from mlpcli.environment import BITS_DEPEND_ON
from mlpcli.errors import CheckpointError, DivergedError, InterruptedRunError, MlpcliError
from mlpcli.files import locked, make_folder, remove_stale, writing
from mlpcli.interrupts import StopRequest
from mlpcli.runs import checkpoint
from mlpcli.runs import folder as runs
from mlpcli.runs.checkpoint import Checkpoint
from mlpcli.runs.folder import Metrics, Run
from mlpcli.runs.legs import Leg, spans
from mlpcli.runs.provenance import DIVERGED, earlier, provenance, started
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
    with locked(run.folder, reporter.warn):
        return _run(training, run, reporter, stop, note, _Start())


def resume(
    run: Run,
    last: Path,
    config: Config,
    reporter: Reporter,
    stop: StopRequest,
    *,
    strict: bool,
    extend: bool = False,
    note: str | None = None,
    read: Callable[[DataConfig], Dataset] = load_train_val,
) -> dict[str, Any]:
    """Resume a run from its checkpoint `last`, as if it had never stopped; return its summary.

    Its note is kept unless there is a new `note`. A finished run may be trained for more epochs;
    where that changes the learning rate of steps already made, as with a cosine, only if `extend`.
    A process that trains one run after another may `read` the data once for all of them.
    Raises CheckpointError where the configuration or the data are not those of the run, and if
    `strict` where the environment is not, and LockedError while another process trains it.
    """
    with locked(run.folder, reporter.warn):
        with writing(run.checkpoints, "made"):
            make_folder(run.checkpoints)  # a process may have been killed before it could
        remove_stale(run.folder)
        remove_stale(run.checkpoints)
        saved, start = _load(run, last), _Start()
        if saved is None:
            log.debug("%s: nothing was saved yet, starting at the first step", run.folder)
        else:
            log.debug("%s: resuming at epoch %s, step %s", last, saved.epoch, f"{saved.step:,}")
            _require_same_config(saved, config, last)
            _compare_environments(saved, last, reporter, strict)
        training = _prepared(config, read, reporter)
        if saved is not None:
            digest, now = saved.data_digest, training.dataset.digest
            if digest != now:
                raise CheckpointError(
                    f"{last}: was trained on other images: SHA-256 {digest[:12]}…, now {now[:12]}…"
                )
            try:
                training.restore(saved.resume_arrays, saved.resume_values)
            except CheckpointError as error:
                raise CheckpointError(f"{last}: cannot be resumed: {error}") from None
            was = saved.config.training
            start = _Start(was, _extends(training, was, run, reporter, extend))
            if last.resolve() != run.last.resolve():
                last.replace(run.last)  # the user chose it, the last being corrupt
        return _run(training, run, reporter, stop, note, start)


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
    if not saved_once and len(run.epochs()) < 2:
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
        # With fewer it might have ended earlier.
        if key not in MAY_CHANGE or (key not in UNLEARNED and (now or math.inf) < (was or math.inf))
    ]
    if refused:
        raise CheckpointError(f"{last}: was trained with {'; '.join(refused)}")


def _extends(
    training: Training, was: TrainingConfig, run: Run, reporter: Reporter, allowed: bool
) -> bool:
    """Whether other epochs than it `was` trained for change the learning rate of a step made.

    Then no single training leads here, and none from its configuration alone. Raises
    CheckpointError unless that is `allowed`, and the run has finished what it was to be trained
    for: a training that ends there, and is extended, can be repeated.
    """
    now = training.config.training
    before, after = training.schedule_over(was.epochs), training.schedule
    step = training.progress.step - 1  # the last one
    moment = step / len(training.train_loader)
    moments = (*range(math.ceil(moment)), moment) if step >= 0 else ()
    if all(before(each) == after(each) for each in moments):
        return False
    rate = training.config.optimizer.learning_rate * before(moment)
    command, schedule = ["mlpcli", "train", "--resume", str(run.folder)], training.config.schedule
    if not training.has_finished(was):
        raise CheckpointError(
            f"{run.folder}: has finished {training.progress.epoch} of {was.epochs} epochs: with a "
            f"{schedule.name} schedule only a finished run can be extended to {now.epochs}",
            hint=shlex.join([*command, f"training.epochs={was.epochs}"]),
        )
    change = f"learning rate from {rate:.3g} to {training.learning_rate:.3g}"
    if not allowed:
        raise CheckpointError(
            f"{run.folder}: has finished its {was.epochs} epochs; {now.epochs} would change the "
            f"{change} under its {schedule.name} schedule: --extend allows that",
            hint=shlex.join([*command, f"training.epochs={now.epochs}", "--extend"]),
        )
    reporter.warn(f"{run.folder}: extended from {was.epochs} to {now.epochs} epochs: {change}")
    return True


def _compare_environments(saved: Checkpoint, last: Path, reporter: Reporter, strict: bool) -> None:
    was, now = saved.environment, environment.describe()
    changed = [
        f"{name} {str(was.get(name))[:60]}, now {now[name]}"
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

    def __init__(self, training: Training, run: Run, reporter: Reporter, start: _Start) -> None:
        self.training, self.run, self.reporter = training, run, reporter
        self.environment = environment.describe()
        for name, value in self.environment.items():
            log.debug("%s: %s", name, value)
        self.best: Checkpoint | None = None  # of the epochs since the last save
        self.saved_at = time.monotonic()
        run.write_config(training.config)
        self.legs, self.record = self._started(start)
        run.summary.unlink(missing_ok=True)  # only a finished run has one
        self.metrics = Metrics(run, training.progress.epoch, reporter.warn)
        if self.metrics.rows < training.progress.epoch:
            reporter.warn(f"{run.metrics}: rows of earlier epochs are missing")
        if start.extended:  # from here on it resumes as what it is extended to
            self.save(self.checkpoint())

    def _started(self, start: _Start) -> tuple[list[Leg], dict[str, Any]]:
        """Write environment.json, with this start after earlier ones; return the legs and it."""
        run, config, now = self.run, self.training.config.training, provenance()
        before, kept = dict[str, Any](), None
        try:
            before = earlier(run.environment)
        except CheckpointError as error:
            kept = runs.unused(run.environment)
            self.reporter.warn(f"{error}; it is kept as {kept.name}")
        legs = list[Leg](before.get("legs", []))
        if before and not legs and (was := start.was):  # written before there were legs
            legs.append(Leg(0, was.epochs, was.patience, False, str(before["command"])))
        epoch, command = self.training.progress.epoch, now["command"]
        legs.append(Leg(epoch, config.epochs, config.patience, start.extended, command))
        digest = {"data_digest": self.training.dataset.digest}
        record = self.environment | digest | started(before, now)
        record["legs"] = [asdict(leg) for leg in legs]
        run.write_environment(record, kept)
        return legs, record

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


@dataclass(frozen=True)
class _Start:
    """How a training starts: from what it was trained for so far, and whether that is extended."""

    was: TrainingConfig | None = None
    extended: bool = False


def _run(
    training: Training,
    run: Run,
    reporter: Reporter,
    stop: StopRequest,
    note: str | None,
    start: _Start,
) -> dict[str, Any]:
    """Train to the end, and write the files of the run's folder."""
    if note is not None:
        run.write_note(note)
    saves = _Saves(training, run, reporter, start)

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
        with contextlib.suppress(MlpcliError):
            run.write_environment(saves.record | {DIVERGED: str(error)})
        last = run.last if run.last.exists() else "none, it was not yet saved"
        smaller = training.config.optimizer.learning_rate / 10
        retry = ["mlpcli", "train", str(run.folder), f"optimizer.learning_rate={smaller:g}"]
        message = f"{error}; last good checkpoint: {last}"
        raise DivergedError(message, hint=shlex.join(retry)) from None
    summary = _summary(training, run, saves.legs)
    run.write_summary(summary)
    return summary


def _without_state(saved: Checkpoint) -> Checkpoint:
    """Return what `best.npz` holds, with arrays of its own."""
    named_params = {name: array.copy() for name, array in saved.named_params.items()}
    return replace(saved, named_params=named_params, resume_arrays={}, resume_values={})


def _summary(training: Training, run: Run, legs: list[Leg]) -> dict[str, Any]:
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
        "legs": spans(legs, progress.epoch),
    }
