"""`mlpcli gradcheck`: a configuration's gradients, tensor by tensor."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlpcli import environment
from mlpcli.cli import _options as options
from mlpcli.errors import CheckFailedError, CheckpointError, ConfigError

if TYPE_CHECKING:
    from mlpcli.config.settings import Config
    from mlpcli.gradcheck.check import Report

FLAWS = (
    "sign",
    "missing_mean",
    "missing_bias",
    "missing_derivative",
    "transposed_weight",
    "doubled_entry",
    "float32_noise",
)


@click.command()
@click.argument("config", required=False, type=click.Path(path_type=Path))
@options.sets
@options.data_dir
@options.as_json
@click.option(
    "--checkpoint",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Check at a trained network: a .npz file, or a run's folder.",
)
@click.option(
    "--inject",
    metavar="FLAW",
    type=click.Choice(FLAWS),
    help=f"Break the gradient first, to see it found: {', '.join(FLAWS)}.",
)
@click.option("--explain", is_flag=True, help="Print each equation of the note and its proof.")
@options.verbosity
def gradcheck(
    config: Path | None,
    sets: tuple[str, ...],
    data_dir: Path | None,
    as_json: bool,
    checkpoint: Path | None,
    inject: str | None,
    explain: bool,
) -> None:
    """Prove the gradients of the network and loss of CONFIG.

    Each tensor's gradient is held against the complex step, central differences and the slope of
    the Taylor remainder, and the gradient that trains against float64, on a few images of the
    configured data. Exits with 3 if one is wrong.

    \b
    mlpcli gradcheck configs/note.yaml
    mlpcli gradcheck configs/note.yaml --inject sign    # exits with 3
    mlpcli gradcheck configs/note.yaml --checkpoint runs/note-1
    mlpcli gradcheck --explain
    """
    if explain:
        _explain()
        return
    if config is None:
        raise ConfigError("gradcheck: CONFIG is missing", hint="mlpcli gradcheck configs/note.yaml")
    settings = options.load_config(config, sets, data_dir)
    environment.set_threads(settings.threads)

    from mlpcli.data import dataset
    from mlpcli.gradcheck import check as checker
    from mlpcli.runs.checkpoint import load
    from mlpcli.runs.folder import best_of

    saved = None if checkpoint is None else load(best_of(checkpoint))
    if saved is not None and _shape(saved.config) != _shape(settings):
        raise CheckpointError(f"{checkpoint}: is not the network that {config} describes")
    report = checker.check(settings, dataset.load_train_val(settings.data), saved, inject)
    if as_json:
        options.print_json(_document(report))
    else:
        _print(report)
    wrong = [tensor.name for tensor in report.tensors if not tensor.passed]
    if wrong:
        raise CheckFailedError(f"{config}: the gradient of {', '.join(wrong)} is wrong")


def _shape(config: Config) -> tuple[object, ...]:
    return config.model.hidden, config.model.activation, config.training.dtype


def _document(report: Report) -> dict[str, object]:
    """The report as JSON, which has no word for what is not finite: null."""

    def plain(values: dict[str, object]) -> dict[str, object]:
        finite = {k: not isinstance(v, float) or math.isfinite(v) for k, v in values.items()}
        return {key: value if finite[key] else None for key, value in values.items()}

    tensors = [
        plain(asdict(tensor))
        | {
            "size": tensor.size,
            "passed": tensor.passed,
            "decided": tensor.decided,
            "failures": tensor.failures,
        }
        for tensor in report.tensors
    ]
    steps = plain({"loss": report.loss, "loss_after_step": report.loss_after_step})
    return {"passed": report.passed, **steps, "tensors": tensors}


def _print(report: Report) -> None:
    """A row a tensor, then its worst entry, then what is wrong and why. Within 80 columns."""
    click.echo("                         errors, normwise")
    click.echo("tensor  shape     checked complex   along central  dtype  slope  verdict")
    for t in report.tensors:
        shape = "×".join(map(str, t.shape))
        checked = "all" if t.entries == t.size else f"{t.entries}"
        slope = "–" if t.slope is None else f"{t.slope:.2f}"
        errors = (t.complex_error, t.direction_error, t.central_error, t.dtype_error)
        figures = " ".join(f"{error:7.0e}" for error in errors)
        verdict = click.style("right", "green") if t.decided else "lost"
        if not t.passed:
            verdict = click.style("WRONG", "red")
        click.echo(f"{t.name:6}  {shape:9} {checked:>7} {figures}  {slope:>5}  {verdict}")
    click.echo()
    for t in report.tensors:
        where = f"{t.name}[{', '.join(map(str, t.worst_index))}]"
        click.echo(
            f"worst entry {where:14} analytic {t.worst_analytic: .7e}"
            f"  complex step {t.worst_numeric: .7e}"
        )
    for t in report.tensors:
        if t.kinks:
            click.echo(f"{t.name}: {t.kinks} entries crossed a ReLU's kink, not held against it")
        if not t.decided:
            click.echo(f"{t.name}: lost in rounding at this point, so nothing is proven of it")
    click.echo(
        f"one small step against this gradient: the loss {report.loss:.6f} becomes "
        f"{report.loss_after_step:.6f}"
    )
    for t in report.tensors:
        if not t.passed:
            click.echo(f"{t.name} is wrong by {', '.join(t.failures)}")
            click.echo(f"  likely reason: {t.reason}")


def _explain() -> None:
    """Each equation: what the note says, what is true, the line that computes it, its proof."""
    from mlpcli.gradcheck.equations import EQUATIONS

    for equation in EQUATIONS:
        verdict = click.style(equation.verdict, "green" if equation.verdict == "right" else "red")
        click.echo(f"{equation.place}: {verdict}")
        click.echo(f"  note   {equation.note}")
        click.echo(f"  true   {equation.truth}")
        path, line = equation.location()
        click.echo(f"  code   {path}:{line}  {equation.line}")
        click.echo(f"  proof  {equation.proof}")
    click.echo()
    click.echo("To see the note's sign climb the loss:")
    click.echo("  mlpcli gradcheck configs/smoke.yaml --inject sign")
