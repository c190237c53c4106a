"""`mlpcli gradcheck`: a configuration's gradients, tensor by tensor."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlpcli import environment
from mlpcli.cli import _options as options
from mlpcli.cli._progress import Bar
from mlpcli.config.loading import from_dict, load, to_dict
from mlpcli.config.settings import Config
from mlpcli.errors import CheckFailedError, CheckpointError, InconclusiveError
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
    help="Check at a trained network, CONFIG may be left out: a run's folder (then its best), or a "
    ".npz file. Of last.npz it is the network on the features that it trains on.",
)
@click.option(
    "--inject",
    metavar="FLAW",
    type=click.Choice(FLAWS),
    help=f"Break the gradient first, to see the check find it: {', '.join(FLAWS)}.",
)
@click.option(
    "--allow-inconclusive",
    is_flag=True,
    help="Exit with 0 where a gradient can be neither confirmed nor refuted.",
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
    allow_inconclusive: bool,
    explain: str | None,
) -> None:
    """Check the gradients of the network and loss of CONFIG.

    Each tensor's gradient is compared with the complex step, with central differences and by the
    slope of the Taylor remainder, and in the training dtype with float64, on images of the
    configured data: a batch of the configured size, shorter ones, and the first again. Exits with 3
    if one is wrong, and with 8 if one is inconclusive. Inputs, augmentation, optimizer, schedule
    and the value of the loss are no part of a gradient.

    \b
    mlpcli gradcheck note
    mlpcli gradcheck note --inject sign    # exits with 3
    mlpcli gradcheck --checkpoint runs/note-1
    mlpcli gradcheck --explain
    """
    if explain:
        _explain(explain)
        return
    if checkpoint is None:
        config = options.require(config, "smoke")
    settings = None
    if config is not None:
        with options.unless_for("sweep", config, sweeps.load):
            settings = load(config, sets)
    # On so few images a second thread gains little, and where other programs run it costs much.
    environment.set_threads(settings.threads if settings and settings.threads else 1)

    from mlpcli.data import dataset
    from mlpcli.gradcheck import flaws
    from mlpcli.gradcheck.check import check
    from mlpcli.runs import checkpoint as checkpoints

    params, on_pixels = None, False
    if checkpoint is not None:
        saved = checkpoints.load(runs.best_of(checkpoint))
        if settings is None:
            settings = from_dict(to_dict(saved.config), str(checkpoint), sets)
        if _shape(saved.config) != _shape(settings):
            described = "KEY=VALUE describes" if config is None else f"{config} describes"
            raise CheckpointError(f"{checkpoint}: is not the network that {described}")
        params = saved.resume_arrays.get("params")
        if params is None:
            params, on_pixels = saved.model(1).network.params, True
    assert settings is not None
    recorded = config is None or config.is_dir()
    settings = runs.with_data_dir(settings, data_dir, recorded=recorded)
    with Bar() as bar:
        bar.status("reading the images")
        report = check(
            settings,
            dataset.load_train_val(settings.data),
            params,
            on_pixels=on_pixels,
            flaw=None if inject is None else flaws.named(inject),
            status=bar.status,
        )
    if as_json:
        options.print_json(_document(report))
    else:
        _print(report)
    _require_passed(report, str(config or checkpoint), allow_inconclusive)


def _shape(config: Config) -> tuple[object, ...]:
    return config.model.hidden, config.model.activation, config.training.dtype


def _require_passed(report: Report, what: str, allow_inconclusive: bool) -> None:
    """Raise CheckFailedError for a wrong gradient, InconclusiveError for an inconclusive one."""
    wrong = [tensor.name for tensor in report.tensors if tensor.passed is False]
    if wrong:
        raise CheckFailedError(f"{what}: the gradient of {', '.join(wrong)} is wrong")
    inconclusive = [tensor.name for tensor in report.tensors if tensor.passed is None]
    if inconclusive and not allow_inconclusive:
        names = ", ".join(inconclusive)
        raise InconclusiveError(f"{what}: the gradient of {names} is neither confirmed nor refuted")


def _document(report: Report) -> dict[str, Any]:
    computed = ("size", "passed", "failures")
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
    verdicts = {
        True: click.style("right", "green"),
        False: click.style("WRONG", "red"),
        None: click.style("inconclusive", "yellow"),
    }
    for t in report.tensors:
        shape, entries = "×".join(map(str, t.shape)), t.complex_step.entries
        checked = "all" if entries == t.size else f"{entries}"
        slope = "–" if t.slope is None else f"{t.slope:.2f}"
        comparisons = (t.complex_step, t.direction, t.central, t.training_dtype)
        errors = ["–" if c.error is None else f"{c.error:.0e}" for c in comparisons]
        widths = zip(errors, (7, 9, 7, 6), strict=True)
        columns = " ".join(error.rjust(width) for error, width in widths)
        click.echo(
            f"{t.name:6}  {shape:9} {checked:>7} {columns}  {slope:>5}  {verdicts[t.passed]}"
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
        if t.passed is None:
            click.echo(f"{t.name}: inconclusive: its gradient is zero, or as small as its rounding")
    click.echo(
        f"one small step against this gradient: the loss {report.loss:.6f} becomes "
        f"{report.loss_after_step:.6f}"
    )
    for t in report.tensors:
        if t.failures:
            click.echo(f"{t.name} is wrong by {', '.join(t.failures)}")
            reason = f"  likely reason: {t.reason}"
            click.echo(textwrap.fill(reason, 80, subsequent_indent="    "))


def _explain(what: str) -> None:
    """Print the steps of docs/note.md with their code and tests, or its table of slips."""
    from mlpcli.gradcheck import explain

    click.echo({"steps": explain.explain_steps, "slips": explain.explain_slips}[what]())
