"""`mlpcli sweep`: the trials of a sweep's file, each a run, on as many processes as there are."""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import click

from mlpcli import environment
from mlpcli.cli import _options as options
from mlpcli.cli._progress import Bar
from mlpcli.config.loading import load, values
from mlpcli.errors import ConfigError, printable
from mlpcli.files import DATA_DIR, open_regular, reading
from mlpcli.interrupts import stop_on_signal
from mlpcli.runs.folder import with_data_dir
from mlpcli.sweep import plan as sweeps
from mlpcli.sweep import pool, runner, trials
from mlpcli.sweep.plan import Sweep, Trial
from mlpcli.sweep.trials import Entry

log = logging.getLogger(__name__)

ADDRESS = r"(tcp|tls|ucx|wss?)://\S+:\d+"


@click.command()
@options.configuration
@options.data_dir
@options.runs_dir
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(min=1),
    help="How many processes train at a time.  [default: one for each usable core]",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Train on the workers of a Dask scheduler, as in tls://HOST:8786.",
)
@click.option(
    "--tls-ca-file",
    metavar="FILE",
    type=options.PATH,
    help="Certificates that are trusted to sign the scheduler's, of a tls:// address.",
)
@click.option(
    "--tls-cert", metavar="FILE", type=options.PATH, help="Certificate that the scheduler asks for."
)
@click.option("--tls-key", metavar="FILE", type=options.PATH, help="The certificate's key.")
@options.as_json
@options.verbosity
def sweep(
    config: Path | None,
    sets: tuple[str, ...],
    data_dir: Path | None,
    runs_dir: Path,
    workers: int | None,
    scheduler: str | None,
    tls_ca_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    as_json: bool,
) -> None:
    """Train all trials of a sweep, each in a run's folder, and rank its configurations.

    CONFIG is a sweep's file, or the name of the shipped one; KEY=VALUE changes its base.

    Given again, the same command skips finished trials and continues the others.

    \b
    mlpcli sweep sweep
    mlpcli sweep sweep --workers 2
    mlpcli sweep sweep --scheduler tls://127.0.0.1:8786
    """
    if workers is not None and scheduler is not None:
        raise ConfigError("--workers and --scheduler exclude one another")
    if scheduler is not None and not re.fullmatch(ADDRESS, scheduler):
        found = printable(scheduler)
        raise ConfigError(f"--scheduler: found {found}, expected an address as in tcp://HOST:8786")
    tls = _files(scheduler, tls_ca_file, tls_cert, tls_key)
    config = options.require(config, "sweep")
    with options.unless_for("train", config, load):
        plan = sweeps.load(config, sets)
    # The configured number is that of all trials: no sweep varies it.
    threads, reason = environment.chosen_threads(plan.trials[0].config.threads, default=0)
    cores, limit = environment.usable_cores()
    workers = workers or max(1, cores // (threads or 1))
    if not threads:
        threads, reason = (1, "the default") if scheduler else (max(1, cores // workers), limit)
    log.debug("BLAS threads of each worker: %s (%s)", threads, reason)
    plan = _placed(plan, threads, data_dir)
    folder = runs_dir / plan.name
    if scheduler:
        with options.needs("distributed"):
            from mlpcli.sweep import cluster

    def train(waiting: Sequence[Entry]) -> Generator[Entry, None, None]:
        stop.can_save = True  # there are workers to stop first
        if not scheduler:
            yield from pool.train(workers, waiting, stop)
        elif waiting:
            with cluster.remote(scheduler, tls) as client:
                yield from cluster.train(client, waiting, stop, bar.warn)

    with stop_on_signal() as stop, _Bar() as bar:
        entries = runner.run(plan, folder, train, bar)
    _print(plan, folder, entries, as_json)
    runner.require_success(entries)


TLS = {
    "--tls-ca-file": "tls_ca_file",
    "--tls-cert": "tls_client_cert",
    "--tls-key": "tls_client_key",
}


def _files(scheduler: str | None, *files: Path | None) -> dict[str, Path]:
    """Return the files of TLS by Dask's names; raises ConfigError where they cannot be used."""
    found = {}
    for (option, name), file in zip(TLS.items(), files, strict=True):
        if file is not None:
            if not (scheduler or "").startswith("tls:"):
                address = f"--scheduler {scheduler}" if scheduler else "no --scheduler"
                raise ConfigError(f"{option}: found {address}, expected an address tls://HOST:8786")
            with reading(f"{option} {file}", ConfigError):
                open_regular(file).close()
            found[name] = file.absolute()
    return found


def _placed(plan: Sweep, threads: int, data_dir: Path | None) -> Sweep:
    """Put into each trial its number of threads, and where the data lies, from anywhere."""

    def place(trial: Trial) -> Trial:
        config = replace(trial.config, threads=threads)
        chosen = data_dir or values(config).get("data.dir") or os.environ.get(DATA_DIR)
        return replace(trial, config=with_data_dir(config, chosen or None))

    return replace(plan, trials=tuple(map(place, plan.trials)))


class _Bar(Bar):
    """A bar over the trials, and a line for each that ends."""

    layout = "{n_fmt}/{total_fmt} trials |{bar}|"

    def start(self, count: int, waiting: int) -> None:
        self.begin(count, count - waiting)
        self.bar.refresh()
        if waiting < count:
            self.say(f"{count - waiting} of {count} trials are finished already")

    def trial(self, entry: Entry) -> None:
        """Say what came of a trial; that one failed, also where little is to be said."""
        outcome, folder = entry.outcome, entry.run.folder
        assert outcome is not None
        for warning in outcome.warnings:
            self.warn(warning)
        if outcome.summary is None:
            self.warn(f"{folder} failed: {outcome.error} ({entry.trial})")
        else:
            self.say(f"{folder}  val {outcome.summary['val_accuracy']:.2%}  {entry.trial}")
        self.bar.bar_format = f"{self.layout} {{remaining}} left"
        self.advance(self.bar.n + 1)


def _print(plan: Sweep, folder: Path, entries: list[Entry], as_json: bool) -> None:
    ranked = trials.ranking(entries)
    if as_json:
        options.print_json(
            {
                "sweep_dir": str(folder),
                "csv": str(folder / trials.CSV),
                "ranking": [one.row() for one in ranked],
                "trials": [entry.row() for entry in entries],
            }
        )
        return
    click.echo(trials.table(plan, ranked))
    if not all(one.complete for one in ranked):
        click.echo("A configuration of which a seed failed ranks after the complete ones.")
    click.echo()
    click.echo(f"trials  {folder / trials.CSV}")
    click.echo(f"next    mlpcli report {shlex.quote(str(folder))}")
