"""One experiment: a training joined with its run's folder, from the first step or from the last."""

from __future__ import annotations

import shlex
import signal
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from mlpcli import checkpoint, environment, runs
from mlpcli.checkpoint import Checkpoint
from mlpcli.cifar10 import dataset
from mlpcli.config import Config, differences, to_dict
from mlpcli.errors import CheckpointError, InterruptedRunError
from mlpcli.files import locked
from mlpcli.runs import Run
from mlpcli.signals import Interruptions
from mlpcli.training import EpochResult, Progress, Training

# What may differ when a run is resumed: longer training, and where the same files lie now.
MAY_CHANGE = {
    "name",
    "data.dir",
    "training.epochs",
    "training.patience",
    "training.checkpoint_seconds",
}


class Reporter(Protocol):
    """Shows a training as it goes."""

    def start(self, training: Training) -> None: ...
    def step(self, progress: Progress) -> None: ...
    def epoch(self, result: EpochResult) -> None: ...


def start(config: Config, runs_dir: Path, reporter: Reporter) -> dict[str, Any]:
    """Train in a new run's folder and return its summary.

    Raises DataError, DivergedError, and InterruptedRunError after a signal, with the state saved.
    """
    with Interruptions() as interruptions:
        training = Training(config, dataset.load_train_val(config.data))
        run = runs.create(runs_dir, config.name)
        with locked(run.folder):
            return _run(training, run, reporter, interruptions)


def resume(run: Run, config: Config, reporter: Reporter) -> dict[str, Any]:
    """Go on with a run from its last checkpoint, as if it had never stopped; return its summary.

    Raises CheckpointError where the configuration or the data are not those of the run, and
    LockedError while another process trains it.
    """
    with locked(run.folder), Interruptions() as interruptions:
        saved = _last(run)
        if saved is not None:
            _require_same_config(saved, config, run)
        training = Training(config, dataset.load_train_val(config.data))
        if saved is not None:
            if saved.data_digest != training.dataset.digest:
                raise CheckpointError(f"{run.last}: was trained on other images than these")
            try:
                training.restore(saved.resume_arrays, saved.resume_values)
            except CheckpointError as error:
                raise CheckpointError(f"{run.last}: cannot be resumed: {error}") from None
        return _run(training, run, reporter, interruptions)


def _last(run: Run) -> Checkpoint | None:
    """Return the last checkpoint; None where the run ended before it had saved any."""
    if not run.last.exists() and not run.best.exists() and len(run.metrics_rows(2)) < 2:
        return None
    saved = checkpoint.load(run.last)
    if saved.epoch and not run.best.exists():
        raise CheckpointError(f"{run.best}: is missing")
    return saved


def _require_same_config(saved: Checkpoint, config: Config, run: Run) -> None:
    for key, (was, now) in differences(saved.config, config).items():
        if key not in MAY_CHANGE:
            raise CheckpointError(f"{run.last}: was trained with {key} {was}, now it is {now}")
    was, now = saved.config.training.epochs, config.training.epochs
    if now < was:
        raise CheckpointError(f"{run.last}: was to train {was} epochs, now only {now}")


def _run(
    training: Training, run: Run, reporter: Reporter, interruptions: Interruptions
) -> dict[str, Any]:
    """Train to the end, writing all of the run's folder on the way."""
    run.last.parent.mkdir(exist_ok=True)
    run.cut_metrics(training.progress.epoch)
    run.write_config(training.config)
    run.write_environment(environment.describe() | {"data_digest": training.dataset.digest})
    best: Checkpoint | None = None  # of the epochs since the last save
    saved_at = time.monotonic()

    def save(last: Checkpoint) -> None:
        # The best first: a last.npz then never speaks of a best epoch that is not there.
        nonlocal best, saved_at
        if best is not None:
            checkpoint.save(run.best, best)
            best = None
        checkpoint.save(run.last, last)
        saved_at = time.monotonic()

    def is_due() -> bool:
        return time.monotonic() - saved_at >= training.config.training.checkpoint_seconds

    def on_step(progress: Progress) -> None:
        reporter.step(progress)
        if interruptions.received is not None:
            save(_checkpoint(training))
            raise InterruptedRunError(
                interruptions.received,
                f"{signal.Signals(interruptions.received).name}: saved after step {progress.step}",
                hint=f"mlpcli train --resume {shlex.quote(str(run.folder))}",
            )
        if is_due():
            save(_checkpoint(training))

    reporter.start(training)
    for result in training.epochs(on_step):
        run.append_metrics(_metrics_row(result))
        to_save = is_due() or training.finished or not run.last.exists()
        if result.is_best or to_save:
            last = _checkpoint(training)
            best = _without_state(last) if result.is_best else best
            if to_save:
                save(last)
        reporter.epoch(result)
    summary = _summary(training, run)
    run.write_summary(summary)
    return summary


def _checkpoint(training: Training) -> Checkpoint:
    """Return all that `last.npz` holds; its arrays are the training's own, to be saved at once."""
    progress = training.progress
    arrays, values = training.state()
    return Checkpoint(
        parameters=training.pixel_parameters(),
        config=training.config,
        label_names=training.dataset.label_names,
        data_digest=training.dataset.digest,
        epoch=progress.epoch,
        step=progress.step,
        val_accuracy=progress.best_val_accuracy,
        val_loss=progress.best_val_loss,
        resume_arrays=arrays,
        resume_values=values,
    )


def _without_state(saved: Checkpoint) -> Checkpoint:
    """Return what `best.npz` holds, with arrays of its own."""
    parameters = {name: array.copy() for name, array in saved.parameters.items()}
    return replace(saved, parameters=parameters, resume_arrays={}, resume_values={})


def _metrics_row(result: EpochResult) -> dict[str, Any]:
    values = asdict(result)
    return {name: values[name.replace("/", "_")] for name in runs.METRICS}


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
