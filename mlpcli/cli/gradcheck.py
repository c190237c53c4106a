"""`mlpcli gradcheck`: a configuration's gradients, tensor by tensor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlpcli import environment
from mlpcli.cli import _options as options
from mlpcli.cli._progress import Bar
from mlpcli.config.loading import load
from mlpcli.config.settings import Config
from mlpcli.errors import CheckFailedError, CheckpointError
from mlpcli.gradcheck import FLAWS
from mlpcli.runs import folder as runs
from mlpcli.sweep import plan as sweeps

if TYPE_CHECKING:
    from mlpcli.gradcheck.check import Report


@click.command()
@options.configuration
@options.data_dir
@options.as_json
@click.option(
    "--checkpoint",
    metavar="FILE",
    type=options.PATH,
    help="Check at a trained network: a .npz file, or a run's folder.",
)
@click.option(
    "--inject",
    metavar="FLAW",
    type=click.Choice(FLAWS),
    help=f"Break the gradient first, to see the check find it: {', '.join(FLAWS)}.",
)
@click.option(
    "--explain",
    is_flag=False,
    flag_value="steps",
    type=click.Choice(["steps", "slips"]),
    help="Print the derivation of the gradients: its steps, or the slips of the note.",
)
@options.verbosity
def gradcheck(
    config: Path | None,
    sets: tuple[str, ...],
    data_dir: Path | None,
    as_json: bool,
    checkpoint: Path | None,
    inject: str | None,
    explain: str | None,
) -> None:
    """Check the gradients of the network and loss of CONFIG.

    Each tensor's gradient is compared with the complex step, with central differences and by the
    slope of the Taylor remainder, and the gradient in the training dtype with float64, on a few
    images of the configured data. Exits with 3 if one is wrong.

    \b
    mlpcli gradcheck note
    mlpcli gradcheck note --inject sign    # exits with 3
    mlpcli gradcheck note --checkpoint runs/note-1
    mlpcli gradcheck --explain
    """
    if explain:
        _explain(explain)
        return
    config = options.require(config, "smoke")
    with options.unless_for("sweep", config, sweeps.load):
        settings = runs.with_data_dir(load(config, sets), data_dir)
    environment.set_threads(settings.threads)

    from mlpcli.data import dataset
    from mlpcli.gradcheck import flaws
    from mlpcli.gradcheck.check import IMAGES, check
    from mlpcli.runs import checkpoint as checkpoints

    model = None
    if checkpoint is not None:
        saved = checkpoints.load(runs.best_of(checkpoint))
        if _shape(saved.config) != _shape(settings):
            raise CheckpointError(f"{checkpoint}: is not the network that {config} describes")
        model = saved.model(IMAGES)
    flaw = None if inject is None else flaws.named(inject)
    with Bar() as bar:
        bar.status("reading the images")
        report = check(settings, dataset.load_train_val(settings.data), model, flaw, bar.status)
    if as_json:
        options.print_json(_document(report))
    else:
        _print(report)
    wrong = [tensor.name for tensor in report.tensors if not tensor.passed]
    if wrong:
        raise CheckFailedError(f"{config}: the gradient of {', '.join(wrong)} is wrong")


def _shape(config: Config) -> tuple[object, ...]:
    return config.model.hidden, config.model.activation, config.training.dtype


def _document(report: Report) -> dict[str, Any]:
    computed = ("size", "passed", "conclusive", "failures")
    return {
        "passed": report.passed,
        "loss": report.loss,
        "loss_after_step": report.loss_after_step,
        "tensors": [
            asdict(tensor) | {name: getattr(tensor, name) for name in computed}
            for tensor in report.tensors
        ],
    }


def _print(report: Report) -> None:
    """Print a line per tensor, then its worst entry, then what is wrong. Within 80 columns."""
    click.echo("                         errors, normwise")
    click.echo("tensor  shape     checked complex direction central  dtype  slope  verdict")
    for t in report.tensors:
        shape, entries = "×".join(map(str, t.shape)), t.complex_step.entries
        checked = "all" if entries == t.size else f"{entries}"
        slope = "–" if t.slope is None else f"{t.slope:.2f}"
        errors = f"{t.complex_step.error:7.0e} {t.direction.error:9.0e} {t.central.error:7.0e}"
        verdict = click.style("right", "green") if t.conclusive else "inconclusive"
        if not t.passed:
            verdict = click.style("WRONG", "red")
        click.echo(
            f"{t.name:6}  {shape:9} {checked:>7} {errors} {t.training_dtype.error:6.0e}"
            f"  {slope:>5}  {verdict}"
        )
    click.echo()
    for t in report.tensors:
        worst = t.complex_step
        where = f"{t.name}[{', '.join(map(str, worst.worst_index))}]"
        click.echo(
            f"worst entry {where:14} analytic {worst.worst_analytic: .7e}"
            f"  complex step {worst.worst_numeric: .7e}"
        )
    for t in report.tensors:
        if t.central.kinks:
            click.echo(f"{t.name}: {t.central.kinks} entries crossed a ReLU's kink, left out")
        if not t.conclusive:
            click.echo(f"{t.name}: inconclusive: its gradient is as small as rounding here")
    click.echo(
        f"one small step against this gradient: the loss {report.loss:.6f} becomes "
        f"{report.loss_after_step:.6f}"
    )
    for t in report.tensors:
        if not t.passed:
            click.echo(f"{t.name} is wrong by {', '.join(t.failures)}")
            click.echo(f"  likely reason: {t.reason}")


def _explain(what: str) -> None:
    """Print the steps of docs/note.md with their code and tests, or its table of slips."""
    from mlpcli.gradcheck import explain

    click.echo({"steps": explain.explain_steps, "slips": explain.explain_slips}[what]())
