"""`mlpcli report`: an HTML report on runs."""

from __future__ import annotations

from pathlib import Path

import click

from mlpcli import environment
from mlpcli.cli import _options as options
from mlpcli.cli._progress import Bar
from mlpcli.errors import CheckpointError
from mlpcli.runs import folder as runs


@click.command()
@click.argument("folders", metavar="RUN [RUN …]", nargs=-1, required=True, type=options.PATH)
@click.option(
    "--out",
    metavar="FILE",
    type=options.OUTPUT,
    help="File to write; -: standard output.  [default: report.html in the first folder]",
)
@options.data_dir
@options.verbosity
def report(folders: tuple[Path, ...], out: Path | None, data_dir: Path | None) -> None:
    """Write an HTML report on RUN: curves, metrics, weights, test images.

    RUN is a run's folder, or a sweep's with all its runs. Of several runs the report compares
    curves and accuracies, and shows the best by validation accuracy in detail. It needs the test
    images, to evaluate that run's best network.

    \b
    mlpcli report runs/note-1
    mlpcli report runs/note-1 runs/fast-1 --out comparison.html
    mlpcli report runs/sweep
    """
    environment.set_threads(None)
    with options.needs("matplotlib", "jinja2"):
        from mlpcli.report.page import page

    folders = tuple(map(runs.find, folders))
    found = [run for folder in folders for run in runs.runs_of(folder)]
    if not found:
        raise CheckpointError(f"{folders[0]}: not a run, but a file beside runs")
    with Bar() as bar:
        bar.status("evaluating on the test images, and drawing")
        content = page(found, data_dir).encode()
    first, chosen = runs.containing(folders[0]), out is not None
    if out is None:
        beside_runs = folders[0] if folders[0].is_dir() else folders[0].parent
        out = (first.folder if first else beside_runs) / "report.html"
    options.write(out, content, chosen=chosen)
    size = f"{len(content) / 2**20:.1f} MiB"
    click.echo(f"{out}: {size}; open it in a browser", err=str(out) == "-")
