"""`mlpcli train`: one experiment, from its configuration to a run's folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlpcli import environment
from mlpcli.cli import _options as options
from mlpcli.cli._progress import Bar
from mlpcli.cli._terminal import sampled, sparkline
from mlpcli.config.loading import load
from mlpcli.errors import CheckFailedError, ConfigError
from mlpcli.interrupts import stop_on_signal
from mlpcli.runs import folder as runs
from mlpcli.sweep import plan as sweeps

if TYPE_CHECKING:
    from mlpcli.training.trainer import EpochResult, Progress, Training

CURVE = 48  # characters of the curve that is drawn at the end


def _short_note(ctx: click.Context, _: click.Parameter, note: str | None) -> str | None:
    if note is not None and len(note) > runs.MAX_NOTE:
        raise ConfigError(
            f"--note: found {len(note):,} characters, expected at most {runs.MAX_NOTE:,}"
        )
    return note


@click.command()
@options.configuration
@options.data_dir
@options.runs_dir
@click.option(
    "--resume",
    metavar="RUN",
    type=options.PATH,
    help="Resume a run, or one of its checkpoints; CONFIG may be left out.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="With --resume: refuse another NumPy, BLAS, processor or number of threads.",
)
@options.as_json
@click.option(
    "--min-val-accuracy",
    metavar="X",
    type=options.SHARE,
    help="Exit with 3 if the best validation accuracy is below X (0 to 1).",
)
@click.option(
    "--note",
    metavar="TEXT",
    callback=_short_note,
    help="Keep a note with the run; `mlpcli runs` shows it.",
)
@options.verbosity
def train(
    config: Path | None,
    sets: tuple[str, ...],
    data_dir: Path | None,
    runs_dir: Path,
    resume: Path | None,
    strict: bool,
    as_json: bool,
    min_val_accuracy: float | None,
    note: str | None,
) -> None:
    """Train the network that CONFIG describes: a file, the name of a shipped configuration, or a
    run's folder.

    \b
    mlpcli train note
    mlpcli train fast -q --note "the first try"
    mlpcli train momentum training.epochs=5 seed=1
    mlpcli train --resume runs/note-1 training.epochs=40
    """
    with stop_on_signal() as stop:
        run = last = None
        if resume is not None:
            run, last = runs.run_and_checkpoint(runs.find(resume, runs_dir))
            config = config or run.config_file
        config = options.require(config, "smoke")
        with options.unless_for("sweep", config, sweeps.load):
            recorded = resume is not None or config.is_dir()
            settings = runs.with_data_dir(load(config, sets), data_dir, recorded=recorded)
        if min_val_accuracy is not None and settings.data.val_size == 0:
            raise ConfigError("--min-val-accuracy needs a validation split: data.val_size is 0")
        environment.set_threads(settings.threads)

        from mlpcli.runs import runner as experiment

        with _Bar() as bar:
            if run is None or last is None:
                summary = experiment.start(settings, runs_dir, bar, stop, note)
            else:
                summary = experiment.resume(
                    run, last, settings, bar, stop, strict=strict, note=note
                )
    if as_json:
        options.print_json(summary)
    else:
        _print_summary(summary)
    accuracy = summary["val_accuracy"]
    if min_val_accuracy is not None and accuracy < min_val_accuracy:
        raise CheckFailedError(
            f"validation accuracy {accuracy:.4f} is below the floor of {min_val_accuracy}"
        )


class _Bar(Bar):
    """A bar over the images of the whole run, and a line per epoch."""

    layout = "{desc} {percentage:3.0f}% |{bar}| {remaining} left{postfix}, {rate_fmt}"
    unit, unit_scale = "img", True

    def start(self, training: Training) -> None:
        self.epochs = training.config.training.epochs
        self.images = len(training.dataset.splits["train"])
        self.begin(self.epochs * self.images, self._done(training.progress))

    def _done(self, progress: Progress) -> int:
        return progress.epoch * self.images + progress.position

    def step(self, progress: Progress) -> None:
        if not self.is_due:
            return
        loss = progress.loss_sum / progress.position
        accuracy = progress.correct / progress.position
        self.advance(
            self._done(progress),
            desc=f"epoch {progress.epoch + 1}/{self.epochs}",
            postfix=f"loss {loss:.4f}, accuracy {accuracy:.1%}",
        )

    def epoch(self, result: EpochResult) -> None:
        val = best = ""
        if result.val_loss is not None:
            val = f"  val {result.val_loss:.4f} {result.val_accuracy:6.2%}"
            best = "  best" if result.is_best else ""
        line = (
            f"epoch {result.epoch:3}/{self.epochs}"
            f"  train {result.train_loss:.4f} {result.train_accuracy:6.2%}{val}"
            f"  {result.images_per_second:8,.0f} img/s{best}"
        )
        self.say(line)


def _print_summary(summary: dict[str, Any]) -> None:
    """What came of it: the best epoch, the curve, the time, and what to type next."""
    if summary["val_accuracy"] is not None:
        click.echo(
            f"best epoch  {summary['best_epoch']} of {summary['epochs']}: validation accuracy "
            f"{summary['val_accuracy']:.2%}, loss {summary['val_loss']:.4f}"
        )
    split = "train" if summary["val_accuracy"] is None else "val"
    _print_curve(runs.Run(Path(summary["run_dir"])), split)
    click.echo(
        f"trained     {summary['seconds']:.1f} s, {summary['images_per_second']:,.0f} images/s"
    )
    click.echo(f"checkpoint  {summary['checkpoint']}")
    run = shlex.quote(summary["run_dir"])
    click.echo(f"next        mlpcli eval {run}\n            mlpcli report {run}")


def _print_curve(run: runs.Run, split: str) -> None:
    if accuracies := [row[f"{split}/accuracy"] or 0.0 for row in run.epochs()]:
        click.echo(
            f"{split + ' curve':12}{sparkline(sampled(accuracies, CURVE))}"
            f"  {accuracies[0]:.1%} to {accuracies[-1]:.1%}"
        )
