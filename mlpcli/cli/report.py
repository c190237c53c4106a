"""`mlpcli report`: an HTML report on runs."""

from __future__ import annotations

from pathlib import Path

import click

from mlpcli import environment
from mlpcli.cli import _options as options
from mlpcli.cli._progress import Bar
from mlpcli.runs import folder as runs


@click.command()
@click.argument("folders", metavar="RUN [RUN …]", nargs=-1, required=True, type=options.PATH)
@click.option(
    "--out",
    metavar="FILE",
    type=options.PATH,
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
    with Bar() as bar:
        bar.status("evaluating on the test images, and drawing")
        content = page(found, data_dir).encode()
    out = out or folders[0] / "report.html"
    options.write(out, content)
    size = f"{len(content) / 2**20:.1f} MiB"
    click.echo(f"{out}: {size}; open it in a browser", err=str(out) == "-")
