"""`mlpcli runs`: what was trained, and how two runs differ."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from mlpcli.cli import _options as options
from mlpcli.config import loading
from mlpcli.errors import CheckpointError, ConfigError, printable
from mlpcli.runs import listing, tables
from mlpcli.runs.folder import Run, find, open_run
from mlpcli.runs.listing import ListedRun

WIDTH, LEAST_NOTE = 80, 12  # columns
NONE = "–"
RUNS = Path("runs")


@click.command()
@click.argument("paths", metavar="[FOLDER | RUN RUN]", nargs=-1, type=options.PATH)
@click.option(
    "--sort",
    type=click.Choice(["date", "accuracy"]),
    default="date",
    show_default=True,
    help="The newest first, or the best by validation accuracy.",
)
@click.option("--best", is_flag=True, help="Print only the path of the best finished run.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@options.as_json
def runs(paths: tuple[Path, ...], sort: str, best: bool, as_csv: bool, as_json: bool) -> None:
    """List the runs in FOLDER, by default runs; of two RUNs show how they differ.

    A run is finished, running, diverged, stopped, or empty: nothing is saved. The time is that of
    its start. A run without validation shows the accuracy on the training images.

    --best exits with 5 if no run in FOLDER has finished with a validation accuracy.

    \b
    mlpcli runs
    mlpcli runs runs/sweep --sort accuracy
    mlpcli runs note-1 momentum-1
    mlpcli eval "$(mlpcli runs --best)"
    """
    if best + as_csv + as_json > 1:
        raise ConfigError("--best, --csv and --json exclude one another")
    if len(paths) > 2:
        raise ConfigError(f"found {len(paths)} folders, expected one, or two runs to compare")
    if not paths and not RUNS.exists():
        raise CheckpointError(f"{RUNS}: no such folder", hint="mlpcli train smoke")
    found = [find(path) for path in paths or [RUNS]]
    if len(found) == 2:
        if best or as_csv:
            raise ConfigError("--best and --csv expect one folder of runs, found two runs")
        _compare(open_run(found[0]), open_run(found[1]), as_json)
    elif best:
        click.echo(str(listing.best(found[0]).run_dir))
    else:
        _list(found[0], listing.listed(found[0], sort), as_csv, as_json)


def _list(folder: Path, found: Sequence[ListedRun], as_csv: bool, as_json: bool) -> None:
    rows = [run.row() for run in found]
    if as_json:
        options.print_json({"runs": rows})
    elif as_csv:
        tables.write_csv(sys.stdout, listing.COLUMNS, rows)
    elif found:
        click.echo(_table(found))
    else:
        click.echo(f"{printable(str(folder))}: no runs in this folder", err=True)
        for file in sorted(folder.glob("*/*/config.yaml"))[:1]:  # of a sweep
            inner = shlex.quote(str(file.parent.parent))
            click.echo(f"  try: mlpcli runs {printable(inner)}", err=True)


def _table(found: Sequence[ListedRun]) -> str:
    """Return a row per run, in 80 columns: names and notes that are too long are cut."""
    columns = [
        [f"{each:8}" for each in ("state", *(run.state for run in found))],
        ["val", *(_percent(run.val_accuracy) for run in found)],
        ["train", *(_percent(run.train_accuracy) for run in found)],
        ["epochs", *map(_epochs, found)],
        ["seconds", *map(_seconds, found)],
        ["started", *(_date(run.time) for run in found)],
    ]
    if all(run.val_accuracy is not None or not run.epochs for run in found):
        del columns[2]
    names = ["run", *(printable(run.name) for run in found)]
    notes = ["note", *(printable(run.note) for run in found)] if any(r.note for r in found) else []
    widths = [max(map(len, column)) for column in columns]
    room = WIDTH - sum(widths) - 2 * len(widths)
    name_width = min(max(map(len, names)), room - (LEAST_NOTE + 2 if notes else 0))
    lines = []
    for i, name in enumerate(names):
        cells = [f"{column[i]:>{width}}" for column, width in zip(columns, widths, strict=True)]
        cells = [f"{_cut(name, name_width, 5):{name_width}}", *cells]
        if notes:
            cells.append(_cut(notes[i], room - name_width - 2))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _compare(a: Run, b: Run, as_json: bool) -> None:
    """Print what the two runs came to, and the keys in which their configurations differ."""
    found = [listing.look(a), listing.look(b)]
    configs = [loading.load(run.config_file) for run in (a, b)]
    changed = loading.differences(*configs)
    if as_json:
        options.print_json({"runs": [run.row() for run in found], "differences": changed})
        return
    rows = [["", *(run.name for run in found)]]
    for key in changed:
        values = [loading.values(config) for config in configs]
        rows.append([key, *(loading.text(own[key]) if key in own else NONE for own in values)])
    rows += [
        ["state", *(run.state for run in found)],
        ["epochs", *map(_epochs, found)],
        ["seconds", *map(_seconds, found)],
        ["train accuracy", *(_percent(run.train_accuracy) for run in found)],
        ["validation accuracy", *(_percent(run.val_accuracy) for run in found)],
    ]
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _percent(accuracy: float | None) -> str:
    return NONE if accuracy is None else f"{accuracy:.2%}"


def _epochs(run: ListedRun) -> str:
    return f"{run.epochs}/{run.configured_epochs or '?'}"


def _seconds(run: ListedRun) -> str:
    return NONE if run.seconds is None else f"{run.seconds:,.1f}"


def _date(time: datetime) -> str:
    return f"{time:%m-%d %H:%M}" if time.year == datetime.now().year else f"{time:%Y-%m-%d}"


def _cut(text: str, width: int, end: int = 0) -> str:
    """Return a text of at most `width` characters, of which the last `end` are those of `text`."""
    if len(text) <= width:
        return text
    return f"{text[: width - end - 1]}…{text[len(text) - end :]}"
